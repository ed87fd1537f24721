// What GCC's C++ library, as Debian has it for glibc, asks of a C library and musl lacks. Nothing of it has to be right but _dl_find_object,
// by which an exception finds its way: what a test runs calls no other.
#include <link.h>
#include <locale.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <time.h>

char __libc_single_threaded = 0;
struct {
  unsigned words[4];
} __cpu_model;

struct found {
  unsigned long long flags;
  void *from, *to;
  struct link_map* map;
  void* frames;
};

struct wanted {
  ElfW(Addr) address;
  struct found* found;
};

static int look(struct dl_phdr_info* info, size_t size, void* data) {
  const struct wanted* wanted = data;
  ElfW(Addr) from = -1, to = 0, frames = 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)* part = &info->dlpi_phdr[i];
    const ElfW(Addr) at = info->dlpi_addr + part->p_vaddr;
    if (part->p_type == PT_LOAD && at < from) from = at;
    if (part->p_type == PT_LOAD && at + part->p_memsz > to) to = at + part->p_memsz;
    if (part->p_type == PT_GNU_EH_FRAME) frames = at;
  }
  if (wanted->address < from || wanted->address >= to || !frames) return 0;
  *wanted->found = (struct found){0, (void*)from, (void*)to, 0, (void*)frames};
  return 1;
}

int _dl_find_object(void* address, struct found* found) {
  struct wanted wanted = {(ElfW(Addr))address, found};
  return dl_iterate_phdr(look, &wanted) ? 0 : -1;
}

int __cpu_indicator_init(void) { return 0; }
int __cxa_thread_atexit_impl(void (*function)(void*), void* object, void* library) { return 0; }
int __pthread_key_create(pthread_key_t* key, void (*function)(void*)) { return pthread_key_create(key, function); }
size_t __strftime_l(char* text, size_t n, const char* format, const struct tm* time, locale_t locale) {
  return strftime_l(text, n, format, time, locale);
}
unsigned long __getauxval(unsigned long which) { return getauxval(which); }
unsigned arc4random(void) { return (unsigned)rand(); }
