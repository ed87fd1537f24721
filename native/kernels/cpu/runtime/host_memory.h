// Host memory as the CPU backend hands it out.
#pragma once

#include <cstddef>

namespace feynkac {

// Aligned to cache lines; throws std::bad_alloc. Freed by freeHost().
void* allocateHost(size_t bytes);
void freeHost(void* memory);

}  // namespace feynkac
