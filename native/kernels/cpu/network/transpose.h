// The transpose of a square of kLanes x kLanes floats.
#pragma once

#include "kernels/cpu/simd.h"

namespace feynkac {
namespace FEYNKAC_ISA {

#if defined(__AVX512F__)

// Pairs of rows, then of pairs, are interleaved within quarters of a vector, and quarters are exchanged in two steps.
FEYNKAC_INLINE void transpose(float* to, size_t toStride, const float* from, size_t fromStride) {
  __m512 a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) a[i] = load(from + i * fromStride);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_maskz_unpacklo_ps(0xffff, a[i], a[i + 1]);
    b[i + 1] = _mm512_maskz_unpackhi_ps(0xffff, a[i], a[i + 1]);
  }
  const auto pair = [](__m512 x, __m512 y, bool high) __attribute__((always_inline)) {
    const __m512d p = _mm512_castps_pd(x), q = _mm512_castps_pd(y);
    return _mm512_castpd_ps(high ? _mm512_maskz_unpackhi_pd(0xff, p, q) : _mm512_maskz_unpacklo_pd(0xff, p, q));
  };
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4)  // a[i + c]: column c of each quarter, of rows i .. i + 3
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) a[i + c] = pair(b[i + c / 2], b[i + c / 2 + 2], c % 2 != 0);
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    b[c] = _mm512_maskz_shuffle_f32x4(0xffff, a[c], a[4 + c], 0x88);
    b[4 + c] = _mm512_maskz_shuffle_f32x4(0xffff, a[8 + c], a[12 + c], 0x88);
    b[8 + c] = _mm512_maskz_shuffle_f32x4(0xffff, a[c], a[4 + c], 0xdd);
    b[12 + c] = _mm512_maskz_shuffle_f32x4(0xffff, a[8 + c], a[12 + c], 0xdd);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    store(to + c * toStride, _mm512_maskz_shuffle_f32x4(0xffff, b[c], b[4 + c], 0x88));
    store(to + (4 + c) * toStride, _mm512_maskz_shuffle_f32x4(0xffff, b[8 + c], b[12 + c], 0x88));
    store(to + (8 + c) * toStride, _mm512_maskz_shuffle_f32x4(0xffff, b[c], b[4 + c], 0xdd));
    store(to + (12 + c) * toStride, _mm512_maskz_shuffle_f32x4(0xffff, b[8 + c], b[12 + c], 0xdd));
  }
}

#elif defined(__AVX__)

FEYNKAC_INLINE void transpose(float* to, size_t toStride, const float* from, size_t fromStride) {
  __m256 a[8], b[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) a[i] = load(from + i * fromStride);
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4)  // a[i + c]: column c of each half, of rows i .. i + 3
#pragma GCC unroll 2
    for (int c = 0; c < 4; c += 2) {
      a[i + c] = _mm256_shuffle_ps(b[i + c / 2], b[i + c / 2 + 2], 0x44);
      a[i + c + 1] = _mm256_shuffle_ps(b[i + c / 2], b[i + c / 2 + 2], 0xee);
    }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    store(to + c * toStride, _mm256_permute2f128_ps(a[c], a[4 + c], 0x20));
    store(to + (4 + c) * toStride, _mm256_permute2f128_ps(a[c], a[4 + c], 0x31));
  }
}

#else

FEYNKAC_INLINE void transpose(float* to, size_t toStride, const float* from, size_t fromStride) {
  for (int i = 0; i < kLanes; ++i)
    for (int j = 0; j < kLanes; ++j) to[i * toStride + j] = from[j * fromStride + i];
}

#endif

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
