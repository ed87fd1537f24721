// Vectors of the instruction set that this file is compiled for (one source, several sets: CMakeLists.txt compiles kernels/cpu/*.cpp
// once for each, with FEYNKAC_ISA naming the namespace). GCC and Clang vector extensions; the width follows the compiler's flags.
// Keep std:: templates out of these files: a copy of one compiled for AVX could be the one the linker keeps for everybody.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

// Kernel inner functions must be inlined into code compiled with the same flags.
#define FEYNKAC_INLINE static inline __attribute__((always_inline))

FEYNKAC_INLINE vf load(const float* p) {
  vf v;
  memcpy(&v, p, sizeof v);
  return v;
}
FEYNKAC_INLINE void store(float* p, vf v) { memcpy(p, &v, sizeof v); }
FEYNKAC_INLINE vf splat(float a) { return a - vf{}; }
FEYNKAC_INLINE vf loadTail(const float* p, int n) {  // the first n lanes, zeros after
  vf v = {};
  memcpy(&v, p, static_cast<size_t>(n) * 4);
  return v;
}
FEYNKAC_INLINE void storeTail(float* p, vf v, int n) { memcpy(p, &v, static_cast<size_t>(n) * 4); }
FEYNKAC_INLINE float sum(vf v) {
  float s = 0;
  for (int i = 0; i < kLanes; ++i) s += v[i];
  return s;
}
FEYNKAC_INLINE vf max(vf a, vf b) { return a > b ? a : b; }
FEYNKAC_INLINE vf min(vf a, vf b) { return a < b ? a : b; }

// exp(x) to about 1 ulp for x in [-87, 88], 0 below and exp(88) above; NaN stays NaN. Cody-Waite reduction, Taylor of degree 6
// on [-ln2/2, ln2/2].
FEYNKAC_INLINE vf exp(vf x) {
  const vf nan = x;
  const vi ordered = x == x;
  vf c = min(max(x, splat(-87.3f)), splat(88.0f));
  const vf magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer held in the low bits
  vf t = c * 1.44269504088896341f + magic;
  vf n = t - magic;
  vf r = c - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  vf p = r * (1.0f / 720.0f) + (1.0f / 120.0f);
  p = p * r + (1.0f / 24.0f);
  p = p * r + (1.0f / 6.0f);
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  vi bits = __builtin_convertvector(n, vi);
  bits = (bits + 127) << 23;
  vf scale;
  memcpy(&scale, &bits, sizeof scale);
  vf y = p * scale;
  y = x < splat(-87.3f) ? vf{} : y;
  return ordered ? y : nan;
}
FEYNKAC_INLINE vf sigmoid(vf x) { return 1.0f / (1.0f + exp(-x)); }

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
