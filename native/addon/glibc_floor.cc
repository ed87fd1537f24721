// The addon loads where glibc is 2.28 or newer (Debian 10, Ubuntu 20.04, RHEL 8), however new that is which it was built with: calls of
// functions that got a newer version since then go on to the old one, which every glibc keeps. link.cmake turns them here (--wrap), by
// the names below. scripts/platforms/check.mjs finds what is missing.
#if defined(FEYNKAC_GLIBC_FLOOR)

#if defined(__x86_64__)
#define OLD "GLIBC_2.2.5"
#define NOT_SO_OLD "GLIBC_2.3.4"
#define JUMP "jmp"
#define AT "@PLT"
#else
#define OLD "GLIBC_2.17"
#define NOT_SO_OLD OLD
#define JUMP "b"
#define AT ""
#endif

// A section for each, so that those that are not called, and what they ask for, are left out
// clang-format off
#define TURN_TO(name, version)                                                                       \
  asm(".section .text.__wrap_" #name ",\"ax\"\n"                                                \
      ".globl __wrap_" #name "; .hidden __wrap_" #name "; .type __wrap_" #name ", %function\n"  \
      "__wrap_" #name ": " JUMP " old_" #name AT "\n"                                           \
      ".symver old_" #name ", " #name "@" version "\n"                                             \
      ".text\n");
#define TURN(name) TURN_TO(name, OLD)
// clang-format on

// 2.29: without a wrapper that sets errno
TURN(exp)
TURN(log)
TURN(pow)

// 2.34: from libpthread and libdl to libc; the addon's, then those of CUDA's runtime
TURN(pthread_create)
TURN(pthread_detach)
TURN(pthread_join)
TURN(pthread_mutex_trylock)
TURN(pthread_once)
TURN(dlclose)
TURN(dlerror)
TURN_TO(dlmopen, NOT_SO_OLD)
TURN(dlopen)
TURN(dlsym)
TURN(dlvsym)
TURN(pthread_condattr_setpshared)
TURN(pthread_getspecific)
TURN(pthread_key_create)
TURN(pthread_key_delete)
TURN(pthread_kill)
TURN(pthread_mutexattr_destroy)
TURN(pthread_mutexattr_init)
TURN(pthread_mutexattr_setpshared)
TURN(pthread_mutexattr_settype)
TURN(pthread_rwlock_destroy)
TURN(pthread_rwlock_init)
TURN(pthread_rwlock_rdlock)
TURN(pthread_rwlock_timedrdlock)
TURN(pthread_rwlock_timedwrlock)
TURN(pthread_rwlock_tryrdlock)
TURN(pthread_rwlock_trywrlock)
TURN(pthread_rwlock_unlock)
TURN(pthread_rwlock_wrlock)
TURN(pthread_rwlockattr_destroy)
TURN(pthread_rwlockattr_init)
TURN(pthread_rwlockattr_setpshared)
TURN(pthread_setspecific)
TURN(pthread_spin_destroy)
TURN(pthread_spin_init)
TURN(pthread_spin_lock)
TURN(pthread_spin_trylock)
TURN(pthread_spin_unlock)
TURN(sem_destroy)
TURN(sem_init)
TURN(sem_post)
TURN(sem_timedwait)
TURN(sem_trywait)
TURN(sem_wait)
TURN(shm_open)
TURN(shm_unlink)

// 2.32: by which the C++ library leaves out atomic operations where there is one thread
// NOLINTBEGIN(bugprone-reserved-identifier): that is its name
extern "C" __attribute__((visibility("hidden"))) char __libc_single_threaded;
char __libc_single_threaded = 0;
// NOLINTEND(bugprone-reserved-identifier)

#endif
