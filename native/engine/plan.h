// A plan: a flat list of kernel calls over buffers of one arena. Buffers live from the first operation that touches
// them to the last, and buffers that never live at the same time share memory. Nothing allocates while a plan runs.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "engine/errors.h"
#include "kernels/kernels.h"

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

  // Runs the operations on an arena of at least arenaBytes(); polls `stop` between them.
  void run(Kernels& kernels, void* arena, const Stop& stop);

  // The memory of a buffer, valid for the arena of the run in progress, or of `use`; null for kNone.
  template <class T = float>
  T* at(Buffer b) const {
    return b == kNone ? nullptr : reinterpret_cast<T*>(static_cast<char*>(arena_) + slots_[b].offset);
  }
  void use(void* arena) { arena_ = arena; }

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
};

}  // namespace feynkac
