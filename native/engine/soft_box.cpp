#include "engine/soft_box.h"

#include <algorithm>
#include <cmath>

#include "engine/parallel.h"

namespace feynkac {
namespace {

constexpr double kLogSqrtTwoPi = 0.91893853320467274178;

// log Phi(z); below -25, where erfc comes near its underflow, by the asymptotic series of Mills' ratio (error below
// 1e-13)
double logPhi(double z) {
  if (z > -25) return std::log(0.5 * std::erfc(-z * 0.70710678118654752440));
  const double q = 1 / (z * z);
  return -0.5 * z * z - std::log(-z) - kLogSqrtTwoPi + std::log1p(-q * (1 - 3 * q * (1 - 5 * q * (1 - 7 * q))));
}

// -log[Phi(b) - Phi(a)], a < b, and its derivative under a common shift of a and b by -1
double logMass(double a, double b, double& slope) {
  const bool flip = a + b > 0;  // the mass is symmetric: keep to the left tail, where Phi is small and exact
  if (flip) {
    const double old = a;
    a = -b;
    b = -old;
  }
  const double logB = logPhi(b);
  const double logH = std::isinf(a) ? logB : logB + std::log1p(-std::exp(logPhi(a) - logB));
  const double atB = std::exp(-0.5 * b * b - kLogSqrtTwoPi - logH), atA = std::exp(-0.5 * a * a - kLogSqrtTwoPi - logH);
  slope = flip ? atA - atB : atB - atA;
  return -logH;
}

}  // namespace

void softBox(double* energy, float* grad, const float* x, const double* lower, const double* upper, double t,
             size_t rows, size_t d) {
  forPieces(rows, std::max<size_t>(1, 1024 / d), [&](size_t first, size_t last) {
    for (size_t r = first; r < last; ++r) {
      double sum = 0;
      for (size_t i = 0; i < d; ++i) {
        double slope = 0;
        const double a = (lower[i] - x[r * d + i]) / t, b = (upper[i] - x[r * d + i]) / t;
        if (a > -9 || b < 9) sum += logMass(a, b, slope);  // else 1 - h < 3e-19
        grad[r * d + i] = static_cast<float>(slope / t);
      }
      energy[r] = sum;
    }
  });
}

}  // namespace feynkac
