// Vectors of the instruction set that this file is compiled for (one source, several sets: CMakeLists.txt compiles
// kernels/cpu/*.cpp once for each, with FEYNKAC_ISA naming the namespace). GCC and Clang vector extensions; the width
// follows the compiler's flags. Keep std:: templates out of these files: a copy of one compiled for AVX could be the
// one the linker keeps for everybody.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace feynkac {
namespace FEYNKAC_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float vf __attribute__((vector_size(kLanes * 4)));
typedef int32_t vi __attribute__((vector_size(kLanes * 4)));
typedef double vd __attribute__((vector_size(kLanes * 4)));  // half as many lanes
typedef float vhf __attribute__((vector_size(kLanes * 2)));  // and float32 of as many

// Kernel inner functions must be inlined into code compiled with the same flags.
#define FEYNKAC_INLINE static inline __attribute__((always_inline))

FEYNKAC_INLINE vf load(const float* p) {
  vf v;
  memcpy(&v, p, sizeof v);
  return v;
}
FEYNKAC_INLINE void store(float* p, vf v) { memcpy(p, &v, sizeof v); }
FEYNKAC_INLINE vf splat(float a) { return a - vf{}; }
FEYNKAC_INLINE vi firstLanes(int n) {  // -1 in the first n lanes, 0 after
  vi lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  return lane < n;
}
FEYNKAC_INLINE vf loadTail(const float* p, int n) {  // the first n lanes, zeros after; reads nothing behind them
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
#elif defined(__AVX2__)
  return _mm256_maskload_ps(p, reinterpret_cast<__m256i>(firstLanes(n)));
#else
  vf v = {};
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return v;
#endif
}
FEYNKAC_INLINE void storeTail(float* p, vf v, int n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
#elif defined(__AVX2__)
  _mm256_maskstore_ps(p, reinterpret_cast<__m256i>(firstLanes(n)), v);
#else
  for (int i = 0; i < n; ++i) p[i] = v[i];
#endif
}
FEYNKAC_INLINE float sum(vf v) {
  float s = 0;
  for (int i = 0; i < kLanes; ++i) s += v[i];
  return s;
}
// Where one is NaN, the second.
#if defined(__AVX512F__)
FEYNKAC_INLINE vf max(vf a, vf b) { return _mm512_maskz_max_ps(0xffff, a, b); }
FEYNKAC_INLINE vf min(vf a, vf b) { return _mm512_maskz_min_ps(0xffff, a, b); }
#elif defined(__AVX__)
FEYNKAC_INLINE vf max(vf a, vf b) { return _mm256_max_ps(a, b); }
FEYNKAC_INLINE vf min(vf a, vf b) { return _mm256_min_ps(a, b); }
#elif defined(__x86_64__)
FEYNKAC_INLINE vf max(vf a, vf b) { return _mm_max_ps(a, b); }
FEYNKAC_INLINE vf min(vf a, vf b) { return _mm_min_ps(a, b); }
#else
FEYNKAC_INLINE vf max(vf a, vf b) { return a > b ? a : b; }
FEYNKAC_INLINE vf min(vf a, vf b) { return a < b ? a : b; }
#endif
FEYNKAC_INLINE float maxLane(vf v) {
  float m = v[0];
  for (int i = 1; i < kLanes; ++i) m = v[i] > m ? v[i] : m;
  return m;
}
FEYNKAC_INLINE vf sqrt(vf v) {
#if defined(__AVX512F__)
  return _mm512_maskz_sqrt_ps(0xffff, v);
#elif defined(__AVX__)
  return _mm256_sqrt_ps(v);
#elif defined(__x86_64__)
  return _mm_sqrt_ps(v);
#else
  for (int i = 0; i < kLanes; ++i) v[i] = __builtin_sqrtf(v[i]);
  return v;
#endif
}

// The two halves of a vector in float64, for sums that must not lose digits.
FEYNKAC_INLINE vd lower(vf v) {
  vhf h;
  memcpy(&h, &v, sizeof h);
  return __builtin_convertvector(h, vd);
}
FEYNKAC_INLINE vd upper(vf v) {
  vhf h;
  memcpy(&h, reinterpret_cast<const char*>(&v) + sizeof h, sizeof h);
  return __builtin_convertvector(h, vd);
}
FEYNKAC_INLINE vd loadDoubles(const double* p) {
  vd v;
  memcpy(&v, p, sizeof v);
  return v;
}
FEYNKAC_INLINE void storeDoubles(double* p, vd v) { memcpy(p, &v, sizeof v); }
FEYNKAC_INLINE double sum(vd v) {
  double s = 0;
  for (int i = 0; i < kLanes / 2; ++i) s += v[i];
  return s;
}

FEYNKAC_INLINE vf asFloats(vi bits) {
  vf v;
  memcpy(&v, &bits, sizeof v);
  return v;
}
// exp(x) = p 2^n: Cody-Waite reduction to [-ln2/2, ln2/2] and the polynomial of Cephes (Moshier) there. NaN stays in p.
FEYNKAC_INLINE vf expParts(vf x, vi* n) {
  const vf magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer, held in the low bits
  const vf t = x * 1.44269504088896341f + magic, rounded = t - magic;
  vf r = x - rounded * 0.693359375f;
  r = r - rounded * -2.12194440e-4f;
  vf p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  memcpy(n, &t, sizeof t);
  *n -= 0x4b400000;
  return p * (r * r) + (r + 1.0f);
}
// exp(x) to 2 ulp for every x: denormal results, 0, infinity and NaN included. The power of two is applied in two
// halves, so that neither leaves float32's range.
FEYNKAC_INLINE vf exp(vf x) {
  vi n;
  const vf p = expParts(min(splat(89.0f), max(splat(-104.0f), x)), &n);
  const vi half = n >> 1;
  return p * asFloats((half + 127) << 23) * asFloats((n - half + 127) << 23);
}
// 1 / (1 + exp(-x)); below -87 it stays at 1.6e-38.
FEYNKAC_INLINE vf sigmoid(vf x) {
  vi n;
  const vf p = expParts(min(splat(87.0f), max(splat(-87.0f), -x)), &n);
  return 1.0f / (1.0f + p * asFloats((n + 127) << 23));
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
