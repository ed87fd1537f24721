// A plan: a flat list of kernel calls over buffers of one arena. Buffers live from the first operation that touches
// them to the last, and buffers that never live at the same time share memory. Nothing allocates while a plan runs.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/common/errors.h"
#include "kernels/common/kernels.h"

namespace feynkac {

using Buffer = int;
constexpr Buffer kNone = -1;

class Plan {
 public:
  Buffer floats(size_t n) { return bytes(n * sizeof(float)); }
  Buffer bytes(size_t n);
  // Lives during the whole plan: inputs filled before it runs, outputs read after.
  Buffer pinned(size_t bytes);
  void pin(Buffer b);

  // Appends an operation that reads or writes the given buffers (kNone is skipped).
  void op(const std::vector<Buffer>& touched, std::function<void(Kernels&)> run);

  void layOut();  // after the last op: chooses the offsets
  size_t arenaBytes() const { return arenaBytes_; }

  int size() const { return static_cast<int>(ops_.size()); }
  // Sections of the plan end after so many operations, ascending, and at the end.
  void cut(std::vector<int> ends);

  // Runs the operations on the arena in use; polls `stop` between them. From the second run on each section is one recorded unit where
  // the backend can: then `stop` is polled once. done(i): the operations of section i have been called.
  void run(Kernels& kernels, const Stop& stop, const std::function<void(size_t)>& done = {});
  // Call when something that the operations read on the host has changed.
  void changed() { recordings_.clear(); }

  // The memory of a buffer in the arena in use; null for kNone.
  template <class T = float>
  T* at(Buffer b) const {
    return b == kNone ? nullptr : reinterpret_cast<T*>(static_cast<char*>(arena_) + slots_[b].offset);
  }
  void use(void* arena) {  // at least arenaBytes()
    if (arena != arena_) changed();
    arena_ = arena;
  }

 private:
  struct Slot {
    size_t bytes, offset;
    int first, last;  // operations
  };
  std::vector<Slot> slots_;
  std::vector<std::function<void(Kernels&)>> ops_;
  std::vector<Buffer> pinned_;
  size_t arenaBytes_ = 0;
  void* arena_ = nullptr;
  std::vector<int> cuts_;
  std::vector<std::unique_ptr<Kernels::Recording>> recordings_;  // of the sections
  int epoch_ = -1;  // the backend's recordingEpoch() after the last plain run, which the recordings are for
};

}  // namespace feynkac
