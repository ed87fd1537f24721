// What convolution and attention share: loading factors, and products on tensor cores in each precision.
#pragma once

#include <type_traits>

#include "kernels/common/kernels.h"
#include "kernels/cuda/gpu.cuh"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

// Four floats to shared memory, by an asynchronous copy, from `source` as far as it has `left` of them; zeros for the others.
// With `vectors` all of it is aligned to 16 bytes and `left` a multiple of 4. `any`: an address that can be read.
GPU_FN void copyFour(float* target, const float* source, int left, bool vectors, const float* any) {
  if (vectors) {
    gpu::copyAsync16(target, left > 0 ? source : any, left > 0);
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k) gpu::copyAsync4(target + k, k < left ? source + k : any, k < left);
  }
}

// A value as its TF32 part and the TF32 part of what is left: together 21 bits of mantissa.
GPU_FN void split(uint32_t value, uint32_t& high, uint32_t& low) {
  const float f = __uint_as_float(value);
  high = gpu::toTf32(f);
  low = gpu::toTf32(f - __uint_as_float(high));
}

// acc[i][j] += a[i] b[j] over 8 values of K, from float32 bit patterns. kFp32: a b = hi hi + hi lo + lo hi, smallest first,
// and added to acc by an ordinary sum: tensor cores round their sums towards zero, an error that would grow with K.
template <Precision P, int MI, int NI>
GPU_FN void multiplyFloats(float (&acc)[MI][NI][4], uint32_t (&a)[MI][4], uint32_t (&b)[NI][2]) {
  static_assert(P != Precision::kBf16, "pairs: multiplyPairs");
  if constexpr (P == Precision::kTf32) {
#pragma unroll
    for (int i = 0; i < MI; ++i)
#pragma unroll
      for (int k = 0; k < 4; ++k) a[i][k] = gpu::toTf32(__uint_as_float(a[i][k]));
#pragma unroll
    for (int j = 0; j < NI; ++j) {
#pragma unroll
      for (int k = 0; k < 2; ++k) b[j][k] = gpu::toTf32(__uint_as_float(b[j][k]));
#pragma unroll
      for (int i = 0; i < MI; ++i) gpu::mmaTf32(acc[i][j], a[i], b[j], acc[i][j]);
    }
  } else {
    uint32_t low[MI][4];
#pragma unroll
    for (int i = 0; i < MI; ++i)
#pragma unroll
      for (int k = 0; k < 4; ++k) split(a[i][k], a[i][k], low[i][k]);
#pragma unroll
    for (int j = 0; j < NI; ++j) {
      uint32_t rest[2];
#pragma unroll
      for (int k = 0; k < 2; ++k) split(b[j][k], b[j][k], rest[k]);
#pragma unroll
      for (int i = 0; i < MI; ++i) {
        float sum[4] = {};
        gpu::mmaTf32(sum, low[i], b[j], sum);
        gpu::mmaTf32(sum, a[i], rest, sum);
        gpu::mmaTf32(sum, a[i], b[j], sum);
#pragma unroll
        for (int e = 0; e < 4; ++e) acc[i][j][e] += sum[e];
      }
    }
  }
}

// The same over 16 values of K, in pairs of bfloat16.
template <int MI, int NI>
GPU_FN void multiplyPairs(float (&acc)[MI][NI][4], const uint32_t (&a)[MI][4], const uint32_t (&b)[NI][2]) {
#pragma unroll
  for (int i = 0; i < MI; ++i)
#pragma unroll
    for (int j = 0; j < NI; ++j) gpu::mmaBf16(acc[i][j], a[i], b[j], acc[i][j]);
}

// Calls f<P>() for a precision known at run time.
template <class F>
void withPrecision(Precision p, const F& f) {
  switch (p) {
    case Precision::kFp32:
      return f(std::integral_constant<Precision, Precision::kFp32>());
    case Precision::kTf32:
      return f(std::integral_constant<Precision, Precision::kTf32>());
    case Precision::kBf16:
      return f(std::integral_constant<Precision, Precision::kBf16>());
  }
}

}  // namespace
}  // namespace FEYNKAC_PATH
}  // namespace feynkac
