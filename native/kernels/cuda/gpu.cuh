// The GPU as kernels see it: the one header they include beside the launchers' declarations, and the only place with
// inline PTX (what is Hopper's alone: gpu_hopper.cuh). Compiled by nvcc it is CUDA; by any other compiler, CUDA threads
// run on the CPU (test/emulator), for tests.
//
// Rules that keep both true: LAUNCH instead of <<<>>>; SHARED and DYN_SHARED instead of __shared__; only *_sync
// intrinsics with explicit masks; barriers in uniform control flow and no early return in a kernel that has one; work
// that depends on earlier blocks takes its order from an atomic ticket and spins with __nanosleep; offsets in size_t.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#include <cuda_runtime.h>
#define LAUNCH(kernel, grid, block, smem, stream) kernel<<<grid, block, smem, stream>>>
#define DYN_SHARED(T, name)                                       \
  extern __shared__ __align__(16) unsigned char dynamicShared_[]; \
  T* name = reinterpret_cast<T*>(dynamicShared_)
#define SHARED(T, name, ...) __shared__ T name __VA_ARGS__
#define GPU_FN __device__ __forceinline__
#else
#include "test/emulator/emulator.h"
#define LAUNCH(kernel, grid, block, smem, stream) ::emulator::launcher(kernel, grid, block, smem, stream)
// NOLINTNEXTLINE(bugprone-macro-parentheses): a name that is declared
#define DYN_SHARED(T, name) T* name = reinterpret_cast<T*>(::emulator::current->dyn)
#define SHARED(T, name, ...)                                  \
  using name##_t_ = T __VA_ARGS__;                            \
  static ::emulator::Slot name##_slot_{sizeof(name##_t_), 0}; \
  name##_t_& name = *static_cast<name##_t_*>(::emulator::sharedVariable(name##_slot_))
#define GPU_FN inline
#endif

// The sources are compiled once for each path, a namespace of its own: `tensor` uses the matrix instructions, matrix loads and
// asynchronous copies; `plain` (GPU_PLAIN) does the same by shuffles and ordinary loads, and is there for devices on which
// the first one fails its self-test.
#ifndef FEYNKAC_PATH
#define FEYNKAC_PATH tensor
#endif

namespace gpu {

constexpr unsigned kFull = 0xffffffffu;

#ifdef GPU_PLAIN
// Element [row][k] of A is in lane 4 row + k % 4, element [k][column] of B in lane 4 column + k % 4 (rows and columns modulo 8).
template <class MultiplyAdd>
__device__ __noinline__ void multiplyByShuffles(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                                const float (&c)[4], const MultiplyAdd& multiplyAdd) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  float sum[4] = {c[0], c[1], c[2], c[3]};
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const uint32_t upper = __shfl_sync(kFull, a[2 * half], 4 * g + k),
                     lower = __shfl_sync(kFull, a[2 * half + 1], 4 * g + k);
      const uint32_t left = __shfl_sync(kFull, b[half], 8 * t + k), right = __shfl_sync(kFull, b[half], 8 * t + 4 + k);
      sum[0] = multiplyAdd(upper, left, sum[0]);
      sum[1] = multiplyAdd(upper, right, sum[1]);
      sum[2] = multiplyAdd(lower, left, sum[2]);
      sum[3] = multiplyAdd(lower, right, sum[3]);
    }
#pragma unroll
  for (int i = 0; i < 4; ++i) d[i] = sum[i];
}
#endif

// D = A B + C; A [16, 16] rows, B [16, 8] columns, bfloat16 pairs (lower half first); float32 sums.
GPU_FN void mmaBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&c)[4]) {
#if defined(GPU_PLAIN)
  multiplyByShuffles(d, a, b, c, [](uint32_t x, uint32_t y, float sum) {
    sum += __uint_as_float(x << 16) * __uint_as_float(y << 16);
    return sum + __uint_as_float(x & 0xffff0000u) * __uint_as_float(y & 0xffff0000u);
  });
#elif defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%10,%11,%12,%13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
#else
  emulator::mmaBf16(d, a, b, c);
#endif
}

// D = A B + C; A [16, 8], B [8, 8], TF32 (the float32 bit patterns, of which the low 13 bits are not read).
GPU_FN void mmaTf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&c)[4]) {
#if defined(GPU_PLAIN)
  multiplyByShuffles(d, a, b, c, [](uint32_t x, uint32_t y, float sum) {
    return sum + __uint_as_float(x & ~0x1fffu) * __uint_as_float(y & ~0x1fffu);
  });
#elif defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%10,%11,%12,%13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
#else
  emulator::mmaTf32(d, a, b, c);
#endif
}

// Four 8 x 16-byte matrices from shared memory: lane l gives the address of row l % 8 of matrix l / 8 and receives, of
// matrix i, the 4 bytes at column l % 4 of row l / 4 in r[i].
GPU_FN void loadMatrices(uint32_t (&r)[4], const void* row) {
#if defined(GPU_PLAIN)
  const int lane = threadIdx.x & 31;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const auto own = reinterpret_cast<int64_t>(row);
    const char* from = static_cast<const char*>(row) + (__shfl_sync(kFull, own, i * 8 + (lane >> 2)) - own);
    r[i] = reinterpret_cast<const uint32_t*>(from)[lane & 3];
  }
#elif defined(__CUDACC__)
  const unsigned s = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(s)
               : "memory");
#else
  if (reinterpret_cast<uintptr_t>(row) % 16) emulator::fail("ldmatrix: misaligned row");
  uint16_t v[8];
  std::memcpy(v, row, 16);
  emulator::loadMatrix(r, v, 4, false);
#endif
}

// Asynchronous copy from global to shared memory; where !ok it writes zeros and does not read src.
GPU_FN void copyAsync16(void* dst, const void* src, bool ok) {
#if defined(GPU_PLAIN)
  *static_cast<uint4*>(dst) = ok ? *static_cast<const uint4*>(src) : make_uint4(0, 0, 0, 0);
#elif defined(__CUDACC__)
  const unsigned s = static_cast<unsigned>(__cvta_generic_to_shared(dst));
  const int n = ok ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0],[%1],16,%2;" ::"r"(s), "l"(src), "r"(n) : "memory");
#else
  emulator::copyAsync(dst, src, 16, ok ? 16 : 0);
#endif
}
GPU_FN void copyAsync4(void* dst, const void* src, bool ok) {
#if defined(GPU_PLAIN)
  *static_cast<uint32_t*>(dst) = ok ? *static_cast<const uint32_t*>(src) : 0;
#elif defined(__CUDACC__)
  const unsigned s = static_cast<unsigned>(__cvta_generic_to_shared(dst));
  const int n = ok ? 4 : 0;
  asm volatile("cp.async.ca.shared.global [%0],[%1],4,%2;" ::"r"(s), "l"(src), "r"(n) : "memory");
#else
  emulator::copyAsync(dst, src, 4, ok ? 4 : 0);
#endif
}
GPU_FN void commitCopies() {
#if defined(GPU_PLAIN)
#elif defined(__CUDACC__)
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  emulator::commitCopies();
#endif
}
// At most the N newest groups are still in flight after it.
template <int N>
GPU_FN void waitCopies() {
#if defined(GPU_PLAIN)
#elif defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#else
  emulator::waitCopies(N);
#endif
}

// Sets bits of a word that other threads set too; the old word.
GPU_FN uint32_t setBits(uint32_t* p, uint32_t bits) {
#ifdef __CUDACC__
  return atomicOr(p, bits);
#else
  return __atomic_fetch_or(p, bits, __ATOMIC_RELAXED);
#endif
}

// A word that other blocks read or write meanwhile: never torn, and seen by the whole device. It orders no other access.
GPU_FN uint64_t loadWord(const uint64_t* p) {
#ifdef __CUDACC__
  uint64_t v;
  asm volatile("ld.relaxed.gpu.u64 %0,[%1];" : "=l"(v) : "l"(p) : "memory");
  return v;
#else
  return __atomic_load_n(p, __ATOMIC_RELAXED);
#endif
}
GPU_FN void storeWord(uint64_t* p, uint64_t v) {
#ifdef __CUDACC__
  asm volatile("st.relaxed.gpu.u64 [%0],%1;" ::"l"(p), "l"(v) : "memory");
#else
  __atomic_store_n(p, v, __ATOMIC_RELAXED);
#endif
}

// a b rounded to float64, never fused with a sum: the same in every kernel and on the host.
GPU_FN double product(double a, double b) {
#ifdef __CUDACC__
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

// Nearest TF32 value (ties away from zero), as a float32 bit pattern.
GPU_FN uint32_t toTf32(float f) {
  uint32_t u;
#ifdef __CUDACC__
  asm("cvt.rna.tf32.f32 %0,%1;" : "=r"(u) : "f"(f));
#else
  u = (__float_as_uint(f) + 0x1000u) & ~0x1fffu;
#endif
  return u;
}
// Two nearest bfloat16 values (ties to even), `low` in the lower half.
GPU_FN uint32_t toBf16Pair(float low, float high) {
  uint32_t u;
#ifdef __CUDACC__
  asm("cvt.rn.bf16x2.f32 %0,%1,%2;" : "=r"(u) : "f"(high), "f"(low));
#else
  const auto round = [](float f) {
    const uint32_t b = __float_as_uint(f);
    return (b & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : (b + 0x7fffu + ((b >> 16) & 1)) >> 16;
  };
  u = round(low) | round(high) << 16;
#endif
  return u;
}

}  // namespace gpu
