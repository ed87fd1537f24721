// Preloaded into node (faulty-memory.mjs): lets one allocation of the addon fail, or its start of a thread, and counts them. What Node itself and other
// libraries allocate is known by the caller's address and left alone. The addon is the one that users have: nothing is compiled into it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// In a file that JavaScript writes and reads.
struct state {
  _Atomic int64_t active; // 0: nothing is counted
  _Atomic int64_t failing; // the number of the allocation that fails, from 1; 0: none
  _Atomic int64_t count;
};

static struct state* state;
static _Atomic uintptr_t first, last; // of the addon's code

__attribute__((constructor)) static void open_state(void) {
  const char* path = getenv("FEYNKAC_FAULTY_MEMORY");
  const int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (file < 0) return;
  void* shared = (void*)syscall(SYS_mmap, NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (shared != MAP_FAILED) state = shared;
}

static int find(struct dl_phdr_info* info, size_t size, void* data) {
  (void)size, (void)data;
  const char* name = strrchr(info->dlpi_name, '/');
  if (name == NULL || strstr(name, "feynkac") == NULL) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)* part = &info->dlpi_phdr[i];
    if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
    first = info->dlpi_addr + part->p_vaddr;
    last = first + part->p_memsz;
  }
  return 1;
}

static int fails(const void* caller) {
  if (state == NULL || state->active == 0) return 0;
  if (last == 0) dl_iterate_phdr(find, NULL);
  const uintptr_t at = (uintptr_t)caller;
  if (at < first || at >= last || ++state->count != state->failing) return 0;
  errno = ENOMEM;
  return 1;
}

#define FAILS fails(__builtin_return_address(0))

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void*, size_t),
    *__libc_memalign(size_t, size_t);

void* malloc(size_t bytes) { return FAILS ? NULL : __libc_malloc(bytes); }
void* calloc(size_t n, size_t bytes) { return FAILS ? NULL : __libc_calloc(n, bytes); }
void* realloc(void* old, size_t bytes) { return FAILS ? NULL : __libc_realloc(old, bytes); }
void* aligned_alloc(size_t align, size_t bytes) { return FAILS ? NULL : __libc_memalign(align, bytes); }

int posix_memalign(void** out, size_t align, size_t bytes) {
  if (FAILS) return ENOMEM;
  *out = __libc_memalign(align, bytes);
  return *out == NULL ? ENOMEM : 0;
}

void* mmap(void* at, size_t bytes, int protection, int flags, int file, off_t offset) {
  if (FAILS) return MAP_FAILED;
  return (void*)syscall(SYS_mmap, at, bytes, protection, flags, file, offset);
}

int pthread_create(pthread_t* out, const pthread_attr_t* attributes, void* (*run)(void*), void* context) {
  static int (*real)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  if (real == NULL) real = dlsym(RTLD_NEXT, "pthread_create");
  return FAILS ? EAGAIN : real(out, attributes, run, context);
}
