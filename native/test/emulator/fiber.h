// Switching between stacks, and telling the sanitizers about it: built without them, with EMULATOR_ASAN or EMULATOR_TSAN
// defined where the rest of the program has them.
#pragma once

#include <cstdint>
#include <cstring>

extern "C" {
#ifdef EMULATOR_ASAN
void __sanitizer_start_switch_fiber(void**, const void*, size_t);
void __sanitizer_finish_switch_fiber(void*, const void**, size_t*);
void __asan_unpoison_memory_region(const volatile void*, size_t);
#endif
#ifdef EMULATOR_TSAN
void* __tsan_create_fiber(unsigned);
void __tsan_destroy_fiber(void*);
void* __tsan_get_current_fiber();
void __tsan_switch_to_fiber(void*, unsigned);
void __tsan_acquire(void*);
void __tsan_release(void*);
void AnnotateIgnoreReadsBegin(const char*, int);
void AnnotateIgnoreReadsEnd(const char*, int);
void AnnotateIgnoreWritesBegin(const char*, int);
void AnnotateIgnoreWritesEnd(const char*, int);
void __tsan_java_init(unsigned long, unsigned long);
void __tsan_java_alloc(unsigned long, unsigned long);
#endif
}
#ifdef EMULATOR_TSAN
#define TSAN_ACQUIRE(p) __tsan_acquire(p)
#define TSAN_RELEASE(p) __tsan_release(p)
struct
    Quiet {  // the emulator's own bookkeeping (intercepted memcpy, new) is not the kernel's; the counter is per fiber
  Quiet() {
    AnnotateIgnoreReadsBegin("", 0);
    AnnotateIgnoreWritesBegin("", 0);
  }
  ~Quiet() {
    AnnotateIgnoreReadsEnd("", 0);
    AnnotateIgnoreWritesEnd("", 0);
  }
};
#else
struct Quiet {
  Quiet() {}  // NOLINT(modernize-use-equals-default): else its variables would be unused
};
#define TSAN_ACQUIRE(p) ((void)0)
#define TSAN_RELEASE(p) ((void)0)
#endif

extern "C" void emulator_switch(void** save, void* to);
#if defined(__x86_64__)
asm(R"(.text
.globl emulator_switch
.type emulator_switch,@function
emulator_switch:
 pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
 movq %rsp,(%rdi)
 movq %rsi,%rsp
 popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
 ret
.size emulator_switch,.-emulator_switch
)");
inline void* initialStack(char* top, void (*f)()) {
  void** s = reinterpret_cast<void**>(top - uintptr_t(top) % 16);
  *--s = nullptr;
  *--s = reinterpret_cast<void*>(f);  // keeps rsp % 16 == 8 on entry
  for (int i = 0; i < 6; i++) *--s = nullptr;
  return s;
}
#elif defined(__aarch64__)
asm(R"(.text
.globl emulator_switch
.type emulator_switch,%function
emulator_switch:
 sub sp,sp,#160
 stp x19,x20,[sp,#0]
 stp x21,x22,[sp,#16]
 stp x23,x24,[sp,#32]
 stp x25,x26,[sp,#48]
 stp x27,x28,[sp,#64]
 stp x29,x30,[sp,#80]
 stp d8,d9,[sp,#96]
 stp d10,d11,[sp,#112]
 stp d12,d13,[sp,#128]
 stp d14,d15,[sp,#144]
 mov x9,sp
 str x9,[x0]
 mov sp,x1
 ldp x19,x20,[sp,#0]
 ldp x21,x22,[sp,#16]
 ldp x23,x24,[sp,#32]
 ldp x25,x26,[sp,#48]
 ldp x27,x28,[sp,#64]
 ldp x29,x30,[sp,#80]
 ldp d8,d9,[sp,#96]
 ldp d10,d11,[sp,#112]
 ldp d12,d13,[sp,#128]
 ldp d14,d15,[sp,#144]
 add sp,sp,#160
 ret
)");
inline void* initialStack(char* top, void (*f)()) {
  void** s = reinterpret_cast<void**>(top - uintptr_t(top) % 16) - 20;
  std::memset(s, 0, 160);
  s[11] = reinterpret_cast<void*>(f);
  return s;
}
#else
#error "the emulator switches fibers on x86-64 and AArch64 only"
#endif
