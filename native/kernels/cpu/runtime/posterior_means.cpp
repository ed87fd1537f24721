#include "posterior_means.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "parallel.h"

namespace feynkac {
namespace {

constexpr size_t kLanes = 8;
// Shares of the posterior below this are left out.
constexpr double kNegligible = 1e-7;

double squaredDistance(const float* a, const float* b, size_t d) {
  float lanes[kLanes] = {};
  size_t p = 0;
  for (; p + kLanes <= d; p += kLanes)
    for (size_t l = 0; l < kLanes; ++l) {
      const float difference = a[p + l] - b[p + l];
      lanes[l] += difference * difference;
    }
  double sum = 0;
  for (const float lane : lanes) sum += lane;
  for (; p < d; ++p) sum += (double(a[p]) - b[p]) * (double(a[p]) - b[p]);
  return sum;
}

// The posterior mean of one row; `own` is x0, `squares` and `weights` are working memory of count + 1.
void posteriorMean(float* own, const float* state, double sigma, double inner, const float* references,
                   const uint8_t* matches, size_t count, size_t d, std::vector<double>& squares,
                   std::vector<double>& weights) {
  double least = squares[count] = squaredDistance(own, state, d);
  for (size_t i = 0; i < count; ++i) {
    if (!matches[i]) continue;
    squares[i] = squaredDistance(references + i * d, state, d);
    least = std::min(least, squares[i]);
  }
  const auto density = [&](size_t i, double s) { return std::exp((least - squares[i]) / (2 * s * s)); };
  const auto each = [&](const auto& f) {
    for (size_t i = 0; i < count; ++i)
      if (matches[i]) f(i);
    f(count);
  };
  double drawn = 0, total = 0;
  if (inner < sigma) each([&](size_t i) { drawn += density(i, inner); });
  each([&](size_t i) {
    weights[i] = density(i, sigma);
    if (inner < sigma) weights[i] /= 1 + density(i, inner) / drawn;
    total += weights[i];
  });
  const auto rest = static_cast<float>(weights[count] / total);
  for (size_t p = 0; p < d; ++p) own[p] *= rest;
  for (size_t i = 0; i < count; ++i) {
    if (!matches[i] || weights[i] < kNegligible * total) continue;
    const auto share = static_cast<float>(weights[i] / total);
    for (size_t p = 0; p < d; ++p) own[p] += share * references[i * d + p];
  }
}

}  // namespace

void posteriorMeans(float* targets, const float* states, const double* sigma, const double* inner,
                    const float* references, const uint8_t* matches, size_t rows, size_t count, size_t d) {
  forPieces(rows, 1, [&](size_t first, size_t last) {
    std::vector<double> squares(count + 1), weights(count + 1);
    for (size_t r = first; r < last; ++r)
      posteriorMean(targets + r * d, states + r * d, sigma[r], inner[r], references, matches + r * count, count, d,
                    squares, weights);
  });
}

}  // namespace feynkac
