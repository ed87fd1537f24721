// What resampling on the host and on devices have in common: which uniform is number i, expected copies, and the errors.
#pragma once

#include <cmath>
#include <cstddef>
#include <stdexcept>
#include <string>

#include "random.h"

namespace feynkac {

// Number i of (seed, kResample, step): a particle is a block of 2^31 numbers, so that a stream is long enough for any n.
FEYNKAC_HD double resamplingUniform(uint64_t seed, uint32_t step, size_t i) {
  return uniformAt(seed, kResample, step, static_cast<uint32_t>(i >> 31), static_cast<uint32_t>(i & 0x7fffffff));
}

// Splits the expected number of offspring in whole copies and a fraction. A product n W that rounding put beside a
// positive whole number is that number: equal weights must give every particle exactly once.
struct Expected {
  size_t copies;
  double fraction;
  FEYNKAC_HD explicit Expected(double nw) {
    const double nearest = round(nw);
    const bool snapped = nearest >= 1 && fabs(nw - nearest) <= 1e-12 * nearest;
    const double whole = snapped ? nearest : floor(nw);
    copies = static_cast<size_t>(whole);
    fraction = snapped ? 0 : nw - whole;
  }
};

inline void checkResamplingSizes(size_t n, size_t count) {
  if (count == 0 || count > 0x7fffffff || n > 0x7fffffff)
    throw std::invalid_argument("expected from 1 to 2147483647 weights and draws");
}
// `sum` is NaN where a weight is none.
inline void checkWeightSum(double sum) {
  if (!(sum > 0) || !std::isfinite(sum))
    throw std::invalid_argument("expected finite weights of at least 0 with a positive sum for weights");
}
FEYNKAC_HD bool isNormalised(double sum) { return fabs(sum - 1) <= 1e-10; }
inline void checkKillingSizes(size_t n, size_t count) {
  if (n != count) throw std::invalid_argument("expected as many draws as weights for the killing scheme");
}
inline void checkUniforms(size_t needed, size_t given) {
  if (needed > given)
    throw std::invalid_argument("expected more uniforms: the scheme needs number " + std::to_string(needed) + " of " +
                                std::to_string(given));
}

}  // namespace feynkac
