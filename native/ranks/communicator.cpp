#include "ranks/communicator.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "kernels/common/errors.h"
#include "ranks/tree_sum.h"

namespace feynkac {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

constexpr size_t kMostBytes = size_t{1} << 30;  // of one operation: MPI counts with int
constexpr size_t kSegment = size_t{1} << 22;    // floats that are added up at a time
constexpr size_t kLine = 16;                    // floats of a line of the cache
constexpr auto kEndTakes = std::chrono::seconds(5);
// until the launcher has read what this rank said: Hydra drops what it has not read when it ends the ranks
constexpr auto kHeard = std::chrono::milliseconds(250);

struct Ended : std::runtime_error {
  Ended() : std::runtime_error("the ranks have been ended") {}
};

// Counts and offsets as MPI takes them. Throws where they are too large.
struct Layout {
  std::vector<int> counts, offsets;
  size_t bytes = 0;
  explicit Layout(const std::vector<size_t>& list = {}) {
    for (const size_t count : list) {
      counts.push_back(static_cast<int>(count));
      offsets.push_back(static_cast<int>(bytes));
      bytes += count;
    }
    if (bytes > kMostBytes) throw std::length_error("too many bytes for one exchange");
  }
};

size_t total(const std::vector<size_t>& counts) {
  size_t sum = 0;
  for (const size_t count : counts) sum += count;
  return sum;
}

}  // namespace

Communicator::Communicator(const std::vector<std::string>& libraries, bool checks) : checks_(checks) {
  std::promise<void> opened;
  auto done = opened.get_future();
  std::thread([&] { loop(libraries, opened); }).detach();
  done.get();
}

void Communicator::loop(const std::vector<std::string>& libraries, std::promise<void>& opened) {
  try {
    std::string failures;
    for (size_t i = 0; i < libraries.size() && !mpi_; ++i) {
      try {
        mpi_ = MpiApi::load(libraries[i]);
        place_.library = libraries[i];
      } catch (const DeviceError& e) {
        failures += (failures.empty() ? "" : "; ") + std::string(e.what());
      }
    }
    if (!mpi_) throw DeviceError("no MPI library loads: " + failures);
    mpi_->open();
    place_ = {mpi_->rank, mpi_->size, mpi_->localRank, mpi_->localSize, place_.library, mpi_->version, mpi_->interface};
  } catch (...) {
    opened.set_exception(std::current_exception());
    return;
  }
  opened.set_value();  // this object is the caller's no sooner, and the arguments may be gone from here on
  std::unique_lock<std::mutex> lock(mutex_);
  runQueue(lock, /*all=*/false);
  if (end_ == End::kLeave) {
    lock.unlock();
    const std::string failure = leaveNow();
    lock.lock();
    failure_ = failure;
    left_ = true;
    wake_.notify_all();
  }
  runQueue(lock, /*all=*/true);  // those who wait learn of the end
  wake_.wait(lock, [this] { return end_ == End::kAbort; });
  std::this_thread::sleep_for(kHeard);
  mpi_->abort(code_);
}

void Communicator::runQueue(std::unique_lock<std::mutex>& lock, bool all) {
  while (all || end_ == End::kNone) {
    if (queue_.empty()) {
      if (all) return;
      wake_.wait(lock);
      continue;
    }
    const Work work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work();
    lock.lock();
  }
}

std::string Communicator::leaveNow() {
  if (!unfinished_.empty()) return "it ended in the middle of an exchange (" + unfinished_ + ")";
  try {
    if (!wait(*mpi_->barrier(true), patience_))
      return "it ended, but others still work after " + std::to_string(std::lround(patience_)) + " s";
    mpi_->finalize();
    return "";
  } catch (const std::exception& e) {
    return e.what();
  }
}

void Communicator::post(const char* name, size_t bytes, const Work& work) {
  std::promise<void> promise;
  auto done = promise.get_future();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (end_ != End::kNone) throw Ended();
    queue_.emplace_back([&] {
      try {
        // what that one has sent and not received may still be on its way, to memory that is gone
        if (!unfinished_.empty())
          throw std::runtime_error("the ranks failed in an earlier exchange (" + unfinished_ + ")");
        unfinished_ = name;
        if (end_ != End::kNone) throw Ended();
        ++calls_;
        if (checks_) compare(name, bytes);
        work();
        unfinished_.clear();
        promise.set_value();
      } catch (...) {
        promise.set_exception(std::current_exception());
      }
    });
  }
  wake_.notify_all();
  done.get();
}

// Short waits spin, long ones sleep: a rank that computes on all cores must not share one with a spinning thread.
bool Communicator::wait(Pending& pending, double patience) {
  const bool leaving = patience >= 0;
  const auto began = Clock::now();
  while (!pending.done()) {
    if (end_ == End::kAbort || (end_ == End::kLeave && !leaving)) throw Ended();
    const double waited = since(began);
    if (leaving && waited > patience) return false;
    if (waited < 2e-3)
      std::this_thread::yield();
    else
      std::this_thread::sleep_for(std::chrono::microseconds(waited < 0.1 ? 50 : 500));
  }
  waiting_ = waiting_ + since(began);
  return true;
}

// Gathers what the ranks are about to do, and names the first that does something else than rank 0.
void Communicator::compare(const char* name, size_t bytes) {
  struct Call {
    char name[16];
    uint64_t bytes;
  };
  Call own = {{}, bytes};
  std::strncpy(own.name, name, sizeof(own.name) - 1);
  std::vector<Call> all(place_.size);
  gatherNow(&own, all.data(), std::vector<size_t>(place_.size, sizeof(Call)));
  const auto told = [](const Call& call) {
    return std::string(call.name) + " of " + std::to_string(call.bytes) + " bytes";
  };
  for (int r = 1; r < place_.size; ++r)
    if (std::memcmp(&all[r], &all[0], sizeof(Call)) != 0)
      throw std::logic_error("exchange " + std::to_string(calls_) + " of the ranks differs: " + told(all[0]) +
                             " on rank 0, " + told(all[r]) + " on rank " + std::to_string(r));
}

void Communicator::barrier() {
  post("barrier", 0, [&] { wait(*mpi_->barrier()); });
}

void Communicator::broadcast(void* data, size_t bytes, int root) {
  post("broadcast", bytes, [&] {
    for (size_t at = 0; at < bytes; at += kMostBytes)
      wait(*mpi_->broadcast(static_cast<char*>(data) + at, static_cast<int>(std::min(kMostBytes, bytes - at)), root));
  });
}

void Communicator::gatherNow(const void* own, void* out, const std::vector<size_t>& counts) {
  if (total(counts) <= kMostBytes) {
    const Layout layout(counts);
    wait(*mpi_->allGather(own, layout.counts[place_.rank], out, layout.counts.data(), layout.offsets.data()));
    return;
  }
  char* to = static_cast<char*>(out);
  for (int r = 0; r < place_.size; ++r) {  // large: a broadcast of each
    if (r == place_.rank) std::memcpy(to, own, counts[r]);
    for (size_t at = 0; at < counts[r]; at += kMostBytes)
      wait(*mpi_->broadcast(to + at, static_cast<int>(std::min(kMostBytes, counts[r] - at)), r));
    to += counts[r];
  }
}

void Communicator::allGather(const void* own, void* out, const std::vector<size_t>& counts) {
  post("allGather", total(counts), [&] { gatherNow(own, out, counts); });
}

void Communicator::allToAll(const void* in, const std::vector<size_t>& inCounts, void* out,
                            const std::vector<size_t>& outCounts) {
  // what one rank knows of the sizes another does not, so the call is compared by name alone
  post("allToAll", 0, [&] {
    const size_t ranks = inCounts.size();
    uint64_t largest = std::max(*std::max_element(inCounts.begin(), inCounts.end()),
                                *std::max_element(outCounts.begin(), outCounts.end()));
    std::vector<uint64_t> all(ranks);
    gatherNow(&largest, all.data(), std::vector<size_t>(ranks, sizeof(largest)));
    largest = *std::max_element(all.begin(), all.end());
    const size_t most = kMostBytes / ranks;
    if (largest <= most) {
      const Layout from(inCounts), to(outCounts);
      wait(*mpi_->allToAll(in, from.counts.data(), from.offsets.data(), out, to.counts.data(), to.offsets.data()));
      return;
    }
    std::vector<char> sent, got;
    for (size_t at = 0; at < largest; at += most) {  // so many bytes for each pair of ranks, by way of copies
      const auto part = [&](const std::vector<size_t>& counts) {
        std::vector<size_t> list;
        list.reserve(counts.size());
        for (const size_t count : counts) list.push_back(std::min(most, count - std::min(count, at)));
        return list;
      };
      const Layout from(part(inCounts)), to(part(outCounts));
      sent.resize(from.bytes);
      got.resize(to.bytes);
      size_t start = 0;
      for (size_t r = 0; r < ranks; start += inCounts[r++])
        std::copy_n(static_cast<const char*>(in) + start + at, from.counts[r], sent.data() + from.offsets[r]);
      wait(*mpi_->allToAll(sent.data(), from.counts.data(), from.offsets.data(), got.data(), to.counts.data(),
                           to.offsets.data()));
      start = 0;
      for (size_t r = 0; r < ranks; start += outCounts[r++])
        std::copy_n(got.data() + to.offsets[r], to.counts[r], static_cast<char*>(out) + start + at);
    }
  });
}

// Rank r adds up the r-th slice of every segment: all send it theirs, and get the sum. Bytes as in a ring where each rank has one
// node: 2 (ranks - 1) / ranks of the values each way. The next segment travels while one is added up.
void Communicator::sum(const std::vector<float*>& own, size_t leaves, size_t n, int stride) {
  const auto apart = static_cast<size_t>(stride);
  const size_t ranks = place_.size / apart, rank = place_.rank / apart;
  // counts and offsets of those who take part, for all
  const auto spread = [&](const Layout& part) {
    Layout all(std::vector<size_t>(place_.size, 0));
    for (size_t r = 0; r < ranks; ++r) {
      const size_t at = r * apart + place_.rank % apart;
      all.counts[at] = part.counts[r];
      all.offsets[at] = part.offsets[r];
    }
    return all;
  };
  std::vector<TreeNode> nodes;
  std::vector<size_t> ends;  // of each rank's among the nodes
  for (size_t r = 0; r < ranks; ++r) {
    nodesOf({0, leaves}, partBegin(leaves, r, ranks), partBegin(leaves, r + 1, ranks), nodes);
    ends.push_back(nodes.size());
  }
  const auto firstOf = [&](size_t r) { return r == 0 ? 0 : ends[r - 1]; };
  if (own.size() != ends[rank] - firstOf(rank)) throw std::invalid_argument("not this rank's nodes of the sum");
  if (ranks == 1) return;
  size_t rounds = 0;
  for (size_t r = 0; r < ranks; ++r) rounds = std::max(rounds, ends[r] - firstOf(r));
  post("sum", apart == 1 ? n * sizeof(float) : 0, [&] {
    const size_t segments = (n + kSegment - 1) / kSegment;
    const size_t room = (kSegment / ranks + kLine) * nodes.size();  // of the nodes of a slice
    parts_.resize(2 * room);
    struct Segment {
      Layout slices;
      size_t length = 0;  // of our slice
      std::vector<Layout> sent, got;
      std::vector<float> sum;  // of our slice, where a copy is sent
      std::vector<std::unique_ptr<Pending>> pending;
    };
    std::vector<Segment> list(segments);
    const auto send = [&](size_t s) {
      Segment& segment = list[s];
      const size_t length = std::min(kSegment, n - s * kSegment);
      const size_t each = (length / ranks / kLine + 1) * kLine;
      std::vector<size_t> slices;
      for (size_t r = 0; r < ranks; ++r)
        slices.push_back((std::min(length, (r + 1) * each) - std::min(length, r * each)) * sizeof(float));
      segment.length = slices[rank] / sizeof(float);
      segment.slices = Layout(slices);
      segment.sent.resize(rounds);
      segment.got.resize(rounds);
      for (size_t i = 0; i < rounds; ++i) {  // the i-th node of each rank that has so many
        const bool sends = i < own.size();
        Layout& got = segment.got[i];
        segment.sent[i] = spread(sends ? segment.slices : Layout(std::vector<size_t>(ranks, 0)));
        got = Layout(std::vector<size_t>(ranks, 0));
        for (size_t r = 0; r < ranks; ++r) {
          if (i >= ends[r] - firstOf(r)) continue;
          got.counts[r] = static_cast<int>(slices[rank]);
          got.offsets[r] = static_cast<int>((firstOf(r) + i) * slices[rank]);
        }
        got = spread(got);
        const float* from = own[sends ? i : 0] + s * kSegment;
        segment.pending.push_back(mpi_->allToAll(from, segment.sent[i].counts.data(), segment.sent[i].offsets.data(),
                                                 parts_.data() + (s % 2) * room, got.counts.data(),
                                                 got.offsets.data()));
      }
    };
    if (segments > 0) send(0);
    for (size_t s = 0; s < segments; ++s) {
      Segment& segment = list[s];
      for (const auto& pending : segment.pending) wait(*pending);
      segment.pending.clear();
      if (s + 1 < segments) send(s + 1);
      float* at = own.back() + s * kSegment;
      const float* parts = parts_.data() + (s % 2) * room;
      treeSum(at + segment.slices.offsets[rank] / sizeof(float), nodes, segment.length,
              [&](size_t p) { return parts + p * segment.length; });
      if (apart == 1) {
        segment.pending.push_back(
            mpi_->allGather(nullptr, 0, at, segment.slices.counts.data(), segment.slices.offsets.data()));
        continue;
      }
      // each to the others; from a copy, as Open MPI takes one buffer for both to mean the exchange in place
      Layout to = segment.slices, from = segment.slices;
      to.counts.assign(ranks, segment.slices.counts[rank]);
      to.offsets.assign(ranks, 0);
      to.counts[rank] = from.counts[rank] = 0;
      segment.sent.push_back(spread(to));
      segment.got.push_back(spread(from));
      const float* const slice = at + segment.slices.offsets[rank] / sizeof(float);
      segment.sum.assign(slice, slice + segment.length);
      segment.pending.push_back(mpi_->allToAll(segment.sum.data(), segment.sent.back().counts.data(),
                                               segment.sent.back().offsets.data(), at, segment.got.back().counts.data(),
                                               segment.got.back().offsets.data()));
    }
    for (const Segment& segment : list)
      for (const auto& pending : segment.pending) wait(*pending);
  });
}

std::string Communicator::leave(double patience) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (end_ == End::kNone) {
    patience_ = patience;
    end_ = End::kLeave;
    wake_.notify_all();
  }
  // MPI_Finalize can hang where the network is set up badly; whatever there was to save is saved by now
  const auto most = std::chrono::duration<double>(patience) + kEndTakes;
  // wait_for would take pthread_cond_clockwait, which is new in glibc 2.30
  const auto end = std::chrono::system_clock::now() + most;
  return wake_.wait_until(lock, end, [this] { return left_; }) ? failure_ : "MPI does not end";
}

void Communicator::abort(int code) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    code_ = code;
    end_ = End::kAbort;
  }
  wake_.notify_all();
  std::this_thread::sleep_for(kEndTakes);  // MPI ends this process too, and sooner
  std::_Exit(code);
}

}  // namespace feynkac
