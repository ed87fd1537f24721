#include "log_weights.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "parallel.h"

namespace feynkac {
namespace {

constexpr size_t kPiece = 1 << 15;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Increment {
  const double* const* terms;
  const double* coefficients;
  int count;
  double constant;
  double operator()(size_t i) const {
    double sum = constant;
    for (int j = 0; j < count; ++j) sum += coefficients[j] * terms[j][i];
    return sum;
  }
};

struct Partial {
  double max = -kInfinity, sum = 0, squares = 0;
  double maxAgain = -kInfinity, sumAgain = 0;
  int64_t invalid = -1;
};

// max and invalid of lw[first .. last - 1]
void find(Partial& p, const double* lw, size_t first, size_t last) {
  for (size_t i = first; i < last && p.invalid < 0; ++i) {
    if (std::isnan(lw[i]) || lw[i] == kInfinity) p.invalid = static_cast<int64_t>(i);
    p.max = std::max(p.max, lw[i]);
  }
}

// The same of all pieces.
Partial merged(const std::vector<Partial>& parts) {
  Partial out;
  for (const Partial& p : parts) {
    if (out.invalid < 0) out.invalid = p.invalid;
    out.max = std::max(out.max, p.max);
    out.maxAgain = std::max(out.maxAgain, p.maxAgain);
  }
  return out;
}

bool hasWeights(const Partial& p) { return p.invalid < 0 && p.max != -kInfinity; }

void addSums(Partial& out, const std::vector<Partial>& parts) {
  for (const Partial& p : parts) {
    out.sum += p.sum;
    out.squares += p.squares;
    out.sumAgain += p.sumAgain;
  }
}

LogWeightStats statsOf(const Partial& p) {
  if (p.sum == 0) return {-kInfinity, 0, p.invalid};
  return {p.max + std::log(p.sum), p.sum * p.sum / p.squares, p.invalid, p.maxAgain + std::log(p.sumAgain)};
}

std::vector<Partial> partsOf(size_t n) { return std::vector<Partial>((n + kPiece - 1) / kPiece); }

}  // namespace

LogWeightStats logWeightStats(const double* lw, size_t n) {
  auto parts = partsOf(n);
  forPieces(n, kPiece, [&](size_t first, size_t last) { find(parts[first / kPiece], lw, first, last); });
  Partial all = merged(parts);
  if (!hasWeights(all)) return statsOf(all);
  forPieces(n, kPiece, [&](size_t first, size_t last) {
    Partial& p = parts[first / kPiece];
    for (size_t i = first; i < last; ++i) {
      const double w = std::exp(lw[i] - all.max);
      p.sum += w;
      p.squares += w * w;
    }
  });
  addSums(all, parts);
  return statsOf(all);
}

LogWeightStats reweight(double* lw, double* weights, const double* const* terms, const double* coefficients, int count,
                        double constant, size_t n) {
  const Increment add = {terms, coefficients, count, constant};
  auto parts = partsOf(n);
  forPieces(n, kPiece, [&](size_t first, size_t last) {
    Partial& p = parts[first / kPiece];
    for (size_t i = first; i < last; ++i) {
      if (lw[i] == -kInfinity) continue;
      const double increment = add(i);
      lw[i] += increment;
      p.maxAgain = std::max(p.maxAgain, lw[i] + increment);
    }
    find(p, lw, first, last);
  });
  Partial all = merged(parts);
  if (!hasWeights(all)) return statsOf(all);
  forPieces(n, kPiece, [&](size_t first, size_t last) {
    Partial& p = parts[first / kPiece];
    for (size_t i = first; i < last; ++i) {
      const double w = std::exp(lw[i] - all.max);
      weights[i] = w;
      p.sum += w;
      p.squares += w * w;
      if (lw[i] != -kInfinity) p.sumAgain += std::exp(lw[i] + add(i) - all.maxAgain);
    }
  });
  addSums(all, parts);
  forPieces(n, kPiece, [&](size_t first, size_t last) {
    for (size_t i = first; i < last; ++i) weights[i] /= all.sum;
  });
  return statsOf(all);
}

}  // namespace feynkac
