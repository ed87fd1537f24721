// The mass of a normal distribution between two bounds, for the host and for devices.
#pragma once

#include <cmath>

#include "random.h"

namespace feynkac {

constexpr double kLogSqrtTwoPi = 0.91893853320467274178;

// log Phi(z); below -25, where erfc comes near its underflow, by the asymptotic series of Mills' ratio (error below
// 1e-13)
FEYNKAC_HD double logPhi(double z) {
  if (z > -25) return log(0.5 * erfc(-z * 0.70710678118654752440));
  const double q = 1 / (z * z);
  return -0.5 * z * z - log(-z) - kLogSqrtTwoPi + log1p(-q * (1 - 3 * q * (1 - 5 * q * (1 - 7 * q))));
}

// -log[Phi(b) - Phi(a)], a < b, and its derivative under a common shift of a and b by -1
FEYNKAC_HD double logMass(double a, double b, double& slope) {
  const bool flip = a + b > 0;  // the mass is symmetric: keep to the left tail, where Phi is small and exact
  if (flip) {
    const double old = a;
    a = -b;
    b = -old;
  }
  const double logB = logPhi(b);
  const double logH = a == -HUGE_VAL ? logB : logB + log1p(-exp(logPhi(a) - logB));
  const double atB = exp(-0.5 * b * b - kLogSqrtTwoPi - logH), atA = exp(-0.5 * a * a - kLogSqrtTwoPi - logH);
  slope = flip ? atA - atB : atB - atA;
  return -logH;
}

}  // namespace feynkac
