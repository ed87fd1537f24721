#include "host_memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

namespace feynkac {
namespace {

constexpr size_t kLine = 64;
// From here on a block is a mapping of its own, which the system has back when it is freed: malloc would keep it for
// later, and what the networks of an hour have held would be the process's for good.
constexpr size_t kMapped = size_t{1} << 18;

// Stands in the cache line before each block.
struct Header {
  void* start;    // of what was allocated
  size_t mapped;  // its length; 0: by malloc
};

}  // namespace

void* allocateHost(size_t bytes) {
  if (bytes > SIZE_MAX - kLine) throw std::bad_alloc();
  const size_t whole = bytes + kLine;
  const size_t mapped = whole >= kMapped ? whole : 0;
  void* start = nullptr;
  if (mapped != 0) {
    start = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) throw std::bad_alloc();
  } else if (posix_memalign(&start, kLine, whole) != 0) {
    throw std::bad_alloc();
  }
  *static_cast<Header*>(start) = {start, mapped};
  return static_cast<char*>(start) + kLine;
}

void freeHost(void* memory) {
  if (memory == nullptr) return;
  const Header header = *reinterpret_cast<Header*>(static_cast<char*>(memory) - kLine);
  if (header.mapped != 0) {
    munmap(header.start, header.mapped);
  } else {
    std::free(header.start);
  }
}

}  // namespace feynkac
