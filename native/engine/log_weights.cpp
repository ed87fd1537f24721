#include "engine/log_weights.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/parallel.h"

namespace feynkac {
namespace {

constexpr size_t kPiece = 1 << 15;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Partial {
  double max = -kInfinity, sum = 0, squares = 0;
  int64_t invalid = -1;
};

// max_n lw[n], and sum exp(lw - max), sum exp(lw - max)^2
Partial total(const double* lw, size_t n) {
  std::vector<Partial> parts((n + kPiece - 1) / kPiece);
  forPieces(n, kPiece, [&](size_t first, size_t last) {
    Partial& p = parts[first / kPiece];
    for (size_t i = first; i < last && p.invalid < 0; ++i) {
      if (std::isnan(lw[i]) || lw[i] == kInfinity) p.invalid = static_cast<int64_t>(i);
      p.max = std::max(p.max, lw[i]);
    }
  });
  Partial out;
  for (const Partial& p : parts) {
    if (out.invalid < 0) out.invalid = p.invalid;
    out.max = std::max(out.max, p.max);
  }
  if (out.invalid >= 0 || out.max == -kInfinity) return out;
  forPieces(n, kPiece, [&](size_t first, size_t last) {
    Partial& p = parts[first / kPiece];
    for (size_t i = first; i < last; ++i) {
      const double w = std::exp(lw[i] - out.max);
      p.sum += w;
      p.squares += w * w;
    }
  });
  for (const Partial& p : parts) {
    out.sum += p.sum;
    out.squares += p.squares;
  }
  return out;
}

LogWeightStats statsOf(const Partial& p) {
  if (p.sum == 0) return {-kInfinity, 0, p.invalid};
  return {p.max + std::log(p.sum), p.sum * p.sum / p.squares, p.invalid};
}

}  // namespace

LogWeightStats logWeightStats(const double* lw, size_t n) { return statsOf(total(lw, n)); }

LogWeightStats reweight(double* lw, double* weights, const double* const* terms, const double* coefficients, int count,
                        double constant, size_t n) {
  forPieces(n, kPiece, [&](size_t first, size_t last) {
    for (size_t i = first; i < last; ++i) {
      if (lw[i] == -kInfinity) continue;
      double increment = constant;
      for (int j = 0; j < count; ++j) increment += coefficients[j] * terms[j][i];
      lw[i] += increment;
    }
  });
  const Partial p = total(lw, n);
  if (p.sum > 0)
    forPieces(n, kPiece, [&](size_t first, size_t last) {
      for (size_t i = first; i < last; ++i) weights[i] = std::exp(lw[i] - p.max) / p.sum;
    });
  return statsOf(p);
}

}  // namespace feynkac
