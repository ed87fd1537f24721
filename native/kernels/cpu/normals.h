// The words and normals of random.h, kLanes blocks of Philox at a time: the same words, and the same normals up to the
// rounding of log, sine and cosine.
#pragma once

#include "kernels/common/random.h"
#include "simd.h"

namespace feynkac {
namespace FEYNKAC_ISA {

typedef uint32_t vu __attribute__((vector_size(kLanes * 4)));

// High and low words of m times each lane. A plain loop: compilers turn it into the widening multiplies of each
// instruction set.
FEYNKAC_INLINE void widen(uint32_t m, const vu& c, vu& high, vu& low) {
  uint32_t h[kLanes];
  for (int l = 0; l < kLanes; ++l) h[l] = static_cast<uint32_t>(uint64_t{m} * c[l] >> 32);
  memcpy(&high, h, sizeof high);
  low = c * m;
}

// log of u in [2^-25, 1] (Cephes logf): u = m 2^e with m in [sqrt(1/2), sqrt(2)).
FEYNKAC_INLINE vf logUnit(vf u) {
  vi bits;
  memcpy(&bits, &u, sizeof bits);
  vi e = ((bits - 0x3f3504f3) >> 23);
  bits -= e << 23;
  vf m;
  memcpy(&m, &bits, sizeof m);
  m -= 1.0f;
  vf p = m * 7.0376836292e-2f - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  const vf z = m * m, ef = __builtin_convertvector(e, vf);
  return m + (ef * 0.693359375f + (ef * -2.12194440e-4f + (p * m * z - 0.5f * z)));
}

// sin and cos of 2 pi u, u in (0, 1]: quadrant by rounding 4 u, then Cephes polynomials on [-pi/4, pi/4].
FEYNKAC_INLINE void sinCosTurns(vf u, vf& sine, vf& cosine) {
  const vf magic = splat(12582912.0f);  // 1.5 * 2^23
  const vf t = u * 4.0f + magic, q = t - magic;
  vi quadrant;
  memcpy(&quadrant, &t, sizeof quadrant);
  const vf x = (u * 4.0f - q) * 1.57079632679489662f, z = x * x;
  const vf s = x + x * z * (-1.6666654611e-1f + z * (8.3321608736e-3f + z * -1.9515295891e-4f));
  const vf c =
      1.0f - 0.5f * z + z * z * (4.166664568298827e-2f + z * (-1.388731625493765e-3f + z * 2.443315711809948e-5f));
  const vi odd = -(quadrant & 1), sineSign = (quadrant & 2) << 30, cosineSign = ((quadrant + 1) & 2) << 30;
  vi si, ci;
  memcpy(&si, &s, sizeof si);
  memcpy(&ci, &c, sizeof ci);
  const vi a = ((ci & odd) | (si & ~odd)) ^ sineSign, b = ((si & odd) | (ci & ~odd)) ^ cosineSign;
  memcpy(&sine, &a, sizeof sine);
  memcpy(&cosine, &b, sizeof cosine);
}

FEYNKAC_INLINE vf unitFrom(vu v) {  // as in normalsFrom
  return (__builtin_convertvector(reinterpret_cast<const vi&>(v) >> 8 & 0xffffff, vf) + 0.5f) * (1.0f / 16777216.0f);
}

// Lane l of words[j] is word j of block `block` + l of the stream (seed, purpose, step, particle).
FEYNKAC_INLINE void wordsAt(vu words[4], uint64_t seed, uint32_t purpose, uint32_t step, uint32_t particle,
                            uint32_t block) {
  vu c0, c1 = vu{} + particle, c2 = vu{} + step, c3 = vu{} + purpose;
  for (int l = 0; l < kLanes; ++l) c0[l] = block + static_cast<uint32_t>(l);
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    vu h0, l0, h1, l1;
    widen(0xD2511F53u, c0, h0, l0);
    widen(0xCD9E8D57u, c2, h1, l1);
    c0 = h1 ^ c1 ^ k0;
    c1 = l1;
    c2 = h0 ^ c3 ^ k1;
    c3 = l0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}

// out[0 .. 4 kLanes) = normals 4 block .. of the stream (seed, purpose, step, particle)
FEYNKAC_INLINE void normalsAt(float* out, uint64_t seed, uint32_t purpose, uint32_t step, uint32_t particle,
                              uint32_t block) {
  vu words[4];
  wordsAt(words, seed, purpose, step, particle, block);
  float n[4][kLanes];
  for (int h = 0; h < 2; ++h) {
    vf s, c, minus2log = -2.0f * logUnit(unitFrom(words[2 * h])), radius;
    for (int l = 0; l < kLanes; ++l) radius[l] = __builtin_sqrtf(minus2log[l]);
    sinCosTurns(unitFrom(words[2 * h + 1]), s, c);
    store(n[2 * h], radius * c);
    store(n[2 * h + 1], radius * s);
  }
  for (int l = 0; l < kLanes; ++l)
    for (int j = 0; j < 4; ++j) out[4 * l + j] = n[j][l];
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
