// Runs CUDA kernel sources as ordinary C++, one fiber per CUDA thread: included by gpu.cuh when the compiler is not nvcc.
// It is there to find wrong indices, tails, barriers and races without a GPU. The scheduler (scheduler.cpp, warp.cpp,
// fiber.h) is always built without sanitizers; what is in this header is instrumented together with the kernels.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

// NOLINTBEGIN(bugprone-reserved-identifier): CUDA's names
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) double2 {
  double x, y;
};
struct uint3 {
  unsigned x, y, z;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace emulator {

// One deferred cp.async
struct Pending {
  void* dst;
  const void* src;
  int n, readable, group;
};

// A bulk copy that has not landed: what it read, so that a sanitizer sees the reading.
struct Bulk {
  char* to;
  std::vector<char> bytes;
  uint64_t* barrier;
};
// A product of a warpgroup that has not been made. Its operands are where the thread has them.
struct Product {
  bool pairs;
  float (*d)[4];
  const uint32_t* a;
  uint64_t b;
  bool add, committed;
};
// What goes on in a block beside its threads (hopper.cpp).
struct Asynchronous {
  // Dynamic shared memory as products see it at the latest: what bulk copies brought, and what threads wrote and then
  // published, all of them, before a barrier.
  std::vector<unsigned char> seen;
  std::vector<Bulk> bulks;
  std::vector<uint64_t> products[8];  // B of all that a warpgroup has begun: its four warps begin the same ones
  size_t begun[32] = {};              // by each warp
};

// What a kernel can see of its own thread.
struct Thread {
  uint3 tid, bid;
  dim3 bdim, gdim;
  int lin = 0, lane = 0, warp = 0;
  unsigned char* dyn = nullptr;
  std::vector<Pending> copies;
  int group = 0;
  Asynchronous* asynchronous = nullptr;
  std::vector<Product> products;
  bool begins = false;     // between beginProducts and waitProducts
  bool published = false;  // since the last barrier of the block
};
extern Thread* current;  // the running fiber, null on the host

enum Order { kForward, kReverse, kRandom };  // priority of threads, order of blocks
enum CopyTime { kLate, kEarly, kAnyTime };   // when what is asynchronous is done: at the last or first legal moment

struct Config {
  Order order = kForward;
  unsigned seed = 1;
  CopyTime copies = kLate;
  CopyTime products = kLate;        // of warpgroups
  int resident = 1;                 // co-resident blocks, interleaved at barriers and __nanosleep
  bool lazyStreams = false;         // work waits in its stream until something synchronises with it
  size_t sharedBytes = 101376;      // what a block may have: 99 KiB on sm_86, 89 and 120
  size_t memory = size_t(4) << 30;  // what cudaMalloc may hand out
};
extern Config config;

// Throws std::runtime_error on misuse (deadlock, divergent barriers, misaligned copies, too much shared memory, ...).
void launch(dim3 grid, dim3 block, size_t smem, void (*kernel)(void*), void* arguments);
[[noreturn]] void fail(const std::string& what);  // abandons the launch
int blockBarrier(const char* what, const char* file, int line, int predicate);
void collective(const char* what, int line, unsigned mask, void* argument, void (*f)(unsigned live, void** arguments));
void syncWarp(unsigned mask, int line);
void yield(const char* what = "__nanosleep");  // other threads and blocks run
void progressed();                             // what a spinning thread may wait for has come nearer
void published(void* p);                       // what this thread did before is seen
void observed(void* p);                        // by those who call this after it
unsigned coin();

// One SHARED() declaration: every block has its own allocation, so its own redzones.
struct Slot {
  size_t size;
  int id;
};
void* sharedVariable(Slot& slot);

enum Shuffle { kIndex, kUp, kXor };
struct Exchange {
  uint64_t in, out;
  int select, width;
};
void shuffle(Shuffle mode, unsigned mask, Exchange& e, int line);
template <class T>
T shuffled(Shuffle mode, unsigned mask, T v, int select, int width, int line) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable<T>::value, "shuffles carry up to 8 bytes");
  Exchange e{0, 0, select, width};
  std::memcpy(&e.in, &v, sizeof v);
  shuffle(mode, mask, e, line);
  std::memcpy(&v, &e.out, sizeof v);
  return v;
}
unsigned ballot(unsigned mask, bool vote, int line);
// What tensor cores make of a sum: float32, rounded towards zero.
inline float truncated(double sum) {
  const auto f = static_cast<float>(sum);
  return std::isfinite(sum) && std::fabs(double(f)) > std::fabs(sum) ? std::nextafterf(f, 0.0f) : f;
}
void mmaBf16(float* d, const uint32_t* a, const uint32_t* b, const float* c);
void mmaTf32(float* d, const uint32_t* a, const uint32_t* b, const float* c);
void loadMatrix(uint32_t* r, const uint16_t (&row)[8], int n, bool transposed);

uint32_t sharedAddress(const void* p);  // in the block's dynamic shared memory
void initBarrier(uint64_t* barrier, uint32_t arrivals);
void arrive(uint64_t* barrier, uint32_t bytes);
void waitBarrier(uint64_t* barrier, uint32_t parity);
void begin(Bulk bulk);
inline void copyBulk(void* to, const void* from, uint32_t bytes, uint64_t* barrier) {
  if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from) | bytes) % 16)
    fail("cp.async.bulk: addresses and size must be multiples of 16");
  const char* source = static_cast<const char*>(from);
  begin({static_cast<char*>(to), std::vector<char>(source, source + bytes), barrier});
}
inline void publishShared() { current->published = true; }
void beginProducts();
void product(bool pairs, float (&d)[8][4], const uint32_t (&a)[4], uint64_t b, bool add);
void commitProducts();
void waitProducts();
std::string leftUndone(const Asynchronous& block);  // at its end; empty where nothing is

inline void perform(const Pending& p) {
  std::memcpy(p.dst, p.src, static_cast<size_t>(p.readable));
  std::memset(static_cast<char*>(p.dst) + p.readable, 0, static_cast<size_t>(p.n - p.readable));
}
inline void copyAsync(void* dst, const void* src, int n, int readable) {
  const uintptr_t addresses = reinterpret_cast<uintptr_t>(dst) | (readable ? reinterpret_cast<uintptr_t>(src) : 0);
  if (addresses % static_cast<unsigned>(n)) fail("cp.async: misaligned address");
  const Pending p{dst, src, n, readable, current->group};
  if (config.copies == kEarly || (config.copies == kAnyTime && (coin() & 1)))
    perform(p);
  else
    current->copies.push_back(p);
}
inline void commitCopies() { current->group++; }
inline void waitCopies(int leave) {  // the newest `leave` committed groups may stay in flight
  size_t kept = 0;
  for (const Pending& p : current->copies)
    if (p.group < current->group - leave)
      perform(p);
    else
      current->copies[kept++] = p;
  current->copies.resize(kept);
}

template <class To, class From>
To bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "bits: sizes differ");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
constexpr unsigned maskOrAll(unsigned mask = 0xffffffffu) { return mask; }

}  // namespace emulator

#define threadIdx (::emulator::current->tid)
#define blockIdx (::emulator::current->bid)
#define blockDim (::emulator::current->bdim)
#define gridDim (::emulator::current->gdim)
#define __syncthreads() ((void)::emulator::blockBarrier("__syncthreads", __FILE__, __LINE__, 0))
#define __syncwarp(...) ::emulator::syncWarp(::emulator::maskOrAll(__VA_ARGS__), __LINE__)

template <class T>
T __shfl_sync(unsigned mask, T v, int lane, int width = 32, int line = __builtin_LINE()) {
  return emulator::shuffled(emulator::kIndex, mask, v, lane, width, line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32, int line = __builtin_LINE()) {
  return emulator::shuffled(emulator::kUp, mask, v, static_cast<int>(by), width, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int with, int width = 32, int line = __builtin_LINE()) {
  return emulator::shuffled(emulator::kXor, mask, v, with, width, line);
}
inline unsigned __ballot_sync(unsigned mask, bool vote, int line = __builtin_LINE()) {
  return emulator::ballot(mask, vote, line);
}
inline void __nanosleep(unsigned) { emulator::yield(); }

template <class T>
T atomicAdd(T* p, std::common_type_t<T> v) {
  static_assert(std::is_integral<T>::value, "sums of floats in any order are not reproducible: reduce them instead");
  return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
}
template <class T>
T atomicMax(T* p, std::common_type_t<T> v) {
  T old = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (old < v && !__atomic_compare_exchange_n(p, &old, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  return b < a ? b : a;
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  return a < b ? b : a;
}
inline unsigned __float_as_uint(float f) { return emulator::bits<unsigned>(f); }
inline float __uint_as_float(unsigned u) { return emulator::bits<float>(u); }
inline long long __double_as_longlong(double d) { return emulator::bits<long long>(d); }
// NOLINTEND(bugprone-reserved-identifier)

#include "runtime_api.h"
