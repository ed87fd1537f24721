#include "ranks/device_sum.h"

#include <algorithm>
#include <stdexcept>

#include "kernels/cuda/stream.h"

namespace feynkac {
namespace {

constexpr size_t kSegment = size_t{1} << 22;  // floats, of few machines
constexpr size_t kLine = 32;                  // floats that slices begin at multiples of

// Slice i of `count` of an array of n floats.
struct Slices {
  size_t n, each;
  Slices(size_t n, size_t count) : n(n), each((n / count / kLine + 1) * kLine) {}
  size_t begin(size_t i) const { return std::min(n, i * each); }
  size_t length(size_t i) const { return begin(i + 1) - begin(i); }
};

// parts[p] is the sum of nodes[p]; that of `tree` takes the place of its first part, whose number is returned.
size_t addUp(Kernels& kernels, const TreeNode& tree, const std::vector<TreeNode>& nodes, float* const* parts, size_t n,
             size_t& next) {
  if (nodes[next].last == tree.last) return next++;
  const size_t left = addUp(kernels, {tree.first, tree.cut()}, nodes, parts, n, next);
  const size_t right = addUp(kernels, {tree.cut(), tree.last}, nodes, parts, n, next);
  kernels.run(op::Combine{parts[left], 1, parts[right], 1, parts[left], n});
  return left;
}

// Ranks are numbered machine by machine, of which each has as many.
std::string whyNot(const HostLinks& links) {
  struct Seat {
    int local, size;
  };
  const Seat own = {links.localRank, links.localSize};
  std::vector<Seat> seats(links.size);
  links.gather(&own, seats.data(), sizeof(Seat));
  if (std::all_of(seats.begin(), seats.end(), [](const Seat& s) { return s.size == 1; }))
    return "each machine has one rank";
  for (int r = 0; r < links.size; ++r)
    if (links.size % seats[0].size != 0 || seats[r].size != seats[0].size || seats[r].local != r % seats[0].size)
      return "the ranks are not numbered machine by machine, as many on each";
  return "";
}

// What any rank says: the first that says something.
std::string agreed(const HostLinks& links, const std::string& own) {
  constexpr size_t kLength = 256;
  std::vector<char> text(kLength, 0), all(kLength * links.size);
  std::copy_n(own.begin(), std::min(own.size(), kLength - 1), text.begin());
  links.gather(text.data(), all.data(), kLength);
  for (int r = 0; r < links.size; ++r)
    if (all[r * kLength] != 0) return &all[r * kLength];
  return "";
}

}  // namespace

DeviceSum::DeviceSum(std::shared_ptr<NcclApi> api, const HostLinks& links)
    : api_(std::move(api)), links_(links), segment_(atOnce(kSegment, links.size / links.localSize)) {}

std::unique_ptr<DeviceSum> DeviceSum::open(const std::string& library, const HostLinks& links, Kernels& kernels,
                                           std::string& reason) {
  reason = whyNot(links);
  if (!reason.empty()) return nullptr;
  std::unique_ptr<DeviceSum> made;
  std::vector<NcclApi::Id> ids(links.size);
  const auto tried = [&](const std::function<void()>& step) {
    std::string failure;
    try {
      step();
    } catch (const std::exception& e) {
      failure = e.what();
    }
    return reason = agreed(links, failure);
  };
  if (!tried([&] { made.reset(new DeviceSum(NcclApi::load(library), links)); }).empty()) return nullptr;
  NcclApi::Id own = {};
  if (!tried([&] {
         if (links.localRank == 0) own = made->api_->newId();
       }).empty())
    return nullptr;
  links.gather(own.data(), ids.data(), sizeof(own));
  const auto opened = tried([&] {
    streamOf(kernels.context());  // makes its device the thread's
    made->group_ = std::make_unique<NcclApi::Group>(made->api_, ids[links.rank - links.localRank], links.localSize,
                                                    links.localRank);
  });
  return opened.empty() ? std::move(made) : nullptr;
}

std::vector<TreeNode> DeviceSum::nodesHere(size_t leaves, std::vector<size_t>& ends) const {
  const auto size = static_cast<size_t>(links_.size);
  std::vector<TreeNode> nodes;
  for (int i = 0; i < links_.localSize; ++i) {
    const size_t r = links_.rank - links_.localRank + i;
    nodesOf({0, leaves}, partBegin(leaves, r, size), partBegin(leaves, r + 1, size), nodes);
    ends.push_back(nodes.size());
  }
  return nodes;
}

size_t DeviceSum::room(size_t leaves, size_t n) const {
  std::vector<size_t> ends;
  const Slices slices(std::min(n, segment_), links_.localSize);
  return nodesHere(leaves, ends).size() * slices.each * sizeof(float);
}

void DeviceSum::sum(Kernels& kernels, const std::vector<float*>& own, size_t leaves, size_t n, void* room) {
  const int local = links_.localSize, mine = links_.localRank;
  const auto host = static_cast<size_t>(links_.rank / local), hosts = static_cast<size_t>(links_.size / local);
  std::vector<size_t> ends;
  const std::vector<TreeNode> nodes = nodesHere(leaves, ends);
  const auto firstOf = [&](int i) { return i == 0 ? 0 : ends[i - 1]; };
  if (own.size() != ends[mine] - firstOf(mine)) throw std::invalid_argument("not this rank's nodes of the sum");
  std::vector<TreeNode> whole;  // what the ranks of this machine add up to
  nodesOf({0, leaves}, partBegin(leaves, host, hosts), partBegin(leaves, host + 1, hosts), whole);
  const NcclApi::Stream stream = streamOf(kernels.context());

  for (size_t at = 0; at < n; at += segment_) {
    const Slices slices(std::min(segment_, n - at), local);
    const size_t length = slices.length(mine);
    std::vector<float*> parts;
    parts.reserve(nodes.size());
    for (size_t p = 0; p < nodes.size(); ++p) parts.push_back(static_cast<float*>(room) + p * length);
    group_->begin();
    for (int i = 0; i < local; ++i) {
      if (slices.length(i) > 0)
        for (const float* node : own)
          group_->send(node + at + slices.begin(i), slices.length(i) * sizeof(float), i, stream);
      if (length > 0)
        for (size_t p = firstOf(i); p < ends[i]; ++p) group_->receive(parts[p], length * sizeof(float), i, stream);
    }
    group_->end();
    float* const sum = own.back() + at;
    if (length > 0) {
      std::vector<float*> sums;
      sums.reserve(whole.size());
      size_t next = 0;
      for (const TreeNode& tree : whole) sums.push_back(parts[addUp(kernels, tree, nodes, parts.data(), length, next)]);
      if (hosts == 1) {
        kernels.copy(sum + slices.begin(mine), sums[0], length * sizeof(float));
      } else {
        onHost_.resize(std::max(onHost_.size(), sums.size()));
        for (size_t i = 0; i < sums.size(); ++i) {
          onHost_[i].resize(length);
          kernels.download(onHost_[i].data(), sums[i], length * sizeof(float));
          sums[i] = onHost_[i].data();
        }
        links_.sum(sums, leaves, length);
        kernels.upload(sum + slices.begin(mine), sums.back(), length * sizeof(float));
      }
    } else if (hosts > 1) {
      links_.sum(std::vector<float*>(whole.size(), nullptr), leaves, 0);
    }
    group_->begin();
    for (int i = 0; i < local; ++i) {
      if (i == mine) continue;
      if (length > 0) group_->send(sum + slices.begin(mine), length * sizeof(float), i, stream);
      if (slices.length(i) > 0) group_->receive(sum + slices.begin(i), slices.length(i) * sizeof(float), i, stream);
    }
    group_->end();
  }
}

}  // namespace feynkac
