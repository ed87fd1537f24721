// Host memory as the CPU backend hands it out.
#pragma once

#include <cstddef>

namespace feynkac {

// Aligned to cache lines; throws std::bad_alloc. Freed by freeHost().
void* allocateHost(size_t bytes);
void freeHost(void* memory);

// Gives the pages that lie within any memory back to the system, which takes a millisecond for 10 MB: what they held is lost, and freeing
// the memory is quick afterwards. Where a system has no such call, nothing happens.
void discardHost(void* memory, size_t bytes);

}  // namespace feynkac
