#include "engine/plan.h"

#include <algorithm>
#include <numeric>

namespace feynkac {

Buffer Plan::bytes(size_t n) {
  constexpr size_t kAlign = 64;
  slots_.push_back({(n + kAlign - 1) / kAlign * kAlign, 0, -1, -1});
  return static_cast<Buffer>(slots_.size()) - 1;
}

void Plan::pin(Buffer b) { pinned_.push_back(b); }

Buffer Plan::pinned(size_t n) {
  const Buffer b = bytes(n);
  pin(b);
  return b;
}

void Plan::op(const std::vector<Buffer>& touched, std::function<void(Kernels&)> run) {
  const int now = static_cast<int>(ops_.size());
  for (const Buffer b : touched) {
    if (b == kNone) continue;
    if (slots_[b].first < 0) slots_[b].first = now;
    slots_[b].last = now;
  }
  ops_.push_back(std::move(run));
}

// First fit in order of decreasing size: buffers that overlap in time must not overlap in memory.
void Plan::layOut() {
  for (const Buffer b : pinned_) {
    slots_[b].first = 0;
    slots_[b].last = static_cast<int>(ops_.size());
  }
  std::vector<int> order(slots_.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return slots_[a].bytes > slots_[b].bytes; });
  std::vector<int> placed;  // by offset
  for (const int i : order) {
    Slot& slot = slots_[i];
    if (slot.first < 0) continue;
    size_t offset = 0;
    for (const int j : placed) {
      const Slot& other = slots_[j];
      if (other.last < slot.first || other.first > slot.last) continue;
      if (offset + slot.bytes <= other.offset) break;
      offset = std::max(offset, other.offset + other.bytes);
    }
    slot.offset = offset;
    arenaBytes_ = std::max(arenaBytes_, offset + slot.bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](int a, int b) { return slots_[a].offset < slots_[b].offset; }),
                  i);
  }
}

void Plan::cut(std::vector<int> ends) {
  cuts_ = std::move(ends);
  changed();
}

void Plan::run(Kernels& kernels, const Stop& stop, const std::function<void(size_t)>& done) {
  stop.check();
  const bool records = epoch_ == kernels.recordingEpoch();
  if (!records) recordings_.clear();
  recordings_.resize(cuts_.size() + 1);
  for (size_t i = 0; i <= cuts_.size(); ++i) {
    const int first = i == 0 ? 0 : cuts_[i - 1], last = i < cuts_.size() ? cuts_[i] : size();
    const auto calls = [&] {
      for (int k = first; k < last; ++k) {
        stop.check();
        ops_[k](kernels);
      }
    };
    auto& recording = recordings_[i];
    if (records && recording == nullptr && last > first) recording = kernels.record(calls);
    if (recording != nullptr)
      kernels.replay(*recording);
    else
      calls();
    if (done) done(i);
  }
  if (!records) epoch_ = kernels.recordingEpoch();
}

}  // namespace feynkac
