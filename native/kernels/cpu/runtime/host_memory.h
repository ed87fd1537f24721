// Host memory as the CPU backend hands it out.
#pragma once

#include <stdlib.h>

#include <new>

namespace feynkac {

// Aligned to cache lines; throws std::bad_alloc. Freed by free().
inline void* allocateHost(size_t bytes) {
  void* memory = nullptr;
  if (posix_memalign(&memory, 64, bytes == 0 ? 64 : bytes) != 0) throw std::bad_alloc();
  return memory;
}

}  // namespace feynkac
