#include "host_memory.h"

#if defined(_WIN32)
#include <malloc.h>
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <cstdint>
#include <cstdlib>
#include <new>

namespace feynkac {
namespace {

constexpr size_t kLine = 64;
// From here on a block is a mapping of its own, which the system has back when it is freed: malloc would keep it for
// later, and what the networks of an hour have held would be the process's for good.
constexpr size_t kMapped = size_t{1} << 18;
// From here on the system is asked for huge pages, where it has them for who asks.
constexpr size_t kHuge = size_t{1} << 22;

// Stands in the cache line before each block.
struct Header {
  void* start;    // of what was allocated
  size_t mapped;  // its length; 0: by malloc
};

// Null where there is no memory; addresses are multiples of kLine.
#if defined(_WIN32)
void* map(size_t bytes) { return VirtualAlloc(nullptr, bytes, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE); }
void unmap(void* start, size_t) { VirtualFree(start, 0, MEM_RELEASE); }
void discard(void*, size_t) {}
void* allocateSmall(size_t bytes) { return _aligned_malloc(bytes, kLine); }
void freeSmall(void* start) { _aligned_free(start); }
#else
void* map(size_t bytes) {
  void* start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return nullptr;
#if defined(MADV_HUGEPAGE)
  if (bytes >= kHuge) madvise(start, bytes, MADV_HUGEPAGE);
#endif
  return start;
}
void unmap(void* start, size_t bytes) { munmap(start, bytes); }
void discard(void* memory, size_t bytes) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(memory), skipped = (page - first % page) % page;
  if (skipped < bytes) madvise(static_cast<char*>(memory) + skipped, (bytes - skipped) / page * page, MADV_DONTNEED);
}
void* allocateSmall(size_t bytes) {
  void* start = nullptr;
  return posix_memalign(&start, kLine, bytes) == 0 ? start : nullptr;
}
void freeSmall(void* start) { std::free(start); }
#endif

}  // namespace

void* allocateHost(size_t bytes) {
  if (bytes > SIZE_MAX - kLine) throw std::bad_alloc();
  const size_t whole = bytes + kLine;
  const size_t mapped = whole >= kMapped ? whole : 0;
  void* start = mapped != 0 ? map(mapped) : allocateSmall(whole);
  if (start == nullptr) throw std::bad_alloc();
  *static_cast<Header*>(start) = {start, mapped};
  return static_cast<char*>(start) + kLine;
}

void freeHost(void* memory) {
  if (memory == nullptr) return;
  const Header header = *reinterpret_cast<Header*>(static_cast<char*>(memory) - kLine);
  if (header.mapped != 0) {
    unmap(header.start, header.mapped);
  } else {
    freeSmall(header.start);
  }
}

void discardHost(void* memory, size_t bytes) { discard(memory, bytes); }

}  // namespace feynkac
