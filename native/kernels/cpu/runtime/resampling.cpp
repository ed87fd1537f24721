#include "kernels/common/resampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kernels/common/resampling_rules.h"
#include "parallel.h"

namespace feynkac {
namespace {

constexpr size_t kPiece = 1 << 16;

// Uniform number i; throws std::invalid_argument behind the last given one.
double uniformOf(const Uniforms& u, size_t i) {
  if (!u.areGiven) return resamplingUniform(u.seed, u.step, i);
  checkUniforms(i + 1, u.count);
  return u.values[i];
}

std::vector<double> uniformsOf(const Uniforms& u, size_t from, size_t n) {
  if (n > 0) uniformOf(u, from + n - 1);  // throws before the work where there are too few
  std::vector<double> out(n);
  forPieces(n, kPiece, [&](size_t first, size_t last) {
    for (size_t i = first; i < last; ++i) out[i] = uniformOf(u, from + i);
  });
  return out;
}

// Checks the weights and returns their sum, added up in pieces.
double checkedSum(const double* w, size_t count) {
  std::vector<double> sums((count + kPiece - 1) / kPiece);
  forPieces(count, kPiece, [&](size_t first, size_t last) {
    double sum = 0;
    bool bad = false;
    for (size_t i = first; i < last; ++i) {
      bad |= !(w[i] >= 0);
      sum += w[i];
    }
    sums[first / kPiece] = bad ? std::numeric_limits<double>::quiet_NaN() : sum;
  });
  double total = 0;
  for (const double s : sums) total += s;
  checkWeightSum(total);
  return total;
}

// The last index with weight in [first, last); there must be one, or the result is `first`.
size_t lastPositive(const double* w, size_t first, size_t last) {
  while (last > first + 1 && !(w[last - 1] > 0)) --last;
  return last - 1;
}

// Inverse of the cumulative sum at ordered points: the smallest j with cumsum[j] > point, at most the last j with
// weight.
class Inverse {
 public:
  Inverse(const double* w, size_t count) : Inverse(w, 0, count, 0) {}
  Inverse(const double* w, size_t first, size_t last, double before)
      : w_(w), j_(first), end_(lastPositive(w, first, last)), sum_(before + w[first]) {}
  int32_t operator()(double point) {
    while (sum_ <= point && j_ < end_) sum_ += w_[++j_];
    return static_cast<int32_t>(j_);
  }

 private:
  const double* w_;
  size_t j_, end_;
  double sum_;
};

// Ancestors at n points that are a non-decreasing function of their index, in parallel over pieces of the weights.
template <class Point>
void inverseAt(int32_t* a, size_t n, const double* w, size_t count, const Point& point) {
  const size_t pieces = (count + kPiece - 1) / kPiece;
  std::vector<double> before(pieces + 1, 0);  // cumulative sums at the beginnings of the pieces
  forPieces(count, kPiece, [&](size_t first, size_t last) {
    double sum = 0;
    for (size_t i = first; i < last; ++i) sum += w[i];
    before[first / kPiece + 1] = sum;
  });
  size_t lastPiece = 0;  // the last piece that has weight takes the points that rounding leaves over
  for (size_t p = 0; p < pieces; ++p) {
    if (before[p + 1] > 0) lastPiece = p;
    before[p + 1] += before[p];
  }
  std::vector<size_t> begin(pieces + 1, n);  // the first point at or above before[p]
  begin[0] = 0;
  for (size_t p = 1; p <= lastPiece; ++p) {
    size_t low = begin[p - 1], high = n;
    while (low < high) {
      const size_t middle = low + (high - low) / 2;
      if (point(middle) >= before[p])
        high = middle;
      else
        low = middle + 1;
    }
    begin[p] = low;
  }
  forPieces(count, kPiece, [&](size_t first, size_t last) {
    const size_t p = first / kPiece;
    Inverse inverse(w, first, last, before[p]);
    for (size_t i = begin[p]; i < begin[p + 1]; ++i) a[i] = inverse(point(i));
  });
}

// Multinomial draws at ordered uniforms, by exponential spacings: cumsum(-log u) over its total, n points from n + 1 uniforms.
void multinomial(int32_t* a, size_t n, const double* w, size_t count, const Uniforms& u, size_t from = 0) {
  std::vector<double> z = uniformsOf(u, from, n + 1);
  forPieces(z.size(), kPiece, [&](size_t first, size_t last) {
    for (size_t i = first; i < last; ++i) z[i] = -std::log(z[i]);
  });
  for (size_t i = 1; i <= n; ++i) z[i] += z[i - 1];
  inverseAt(a, n, w, count, [&](size_t i) { return z[i] / z[n]; });
}

// `copies` times i, as far as there is room; the new end.
int32_t* put(int32_t* a, const int32_t* end, size_t copies, size_t i) {
  return std::fill_n(a, std::min(copies, static_cast<size_t>(end - a)), static_cast<int32_t>(i));
}

// floor(n W) copies of each, the rest by multinomial draws from what is left.
void residual(int32_t* a, size_t n, const double* w, size_t count, const Uniforms& u) {
  const int32_t* end = a + n;
  std::vector<double> rest(count);
  for (size_t i = 0; i < count; ++i) {
    const Expected expected(static_cast<double>(n) * w[i]);
    rest[i] = expected.fraction;
    a = put(a, end, expected.copies, i);
  }
  const auto left = static_cast<size_t>(end - a);
  if (left == 0) return;
  for (double& r : rest) r /= static_cast<double>(left);
  multinomial(a, left, rest.data(), count, u);
}

// Srinivasan sampling process (Gerber, Chopin & Whiteley 2019): fractional parts of n W are settled to 0 or 1 in pairs.
void ssp(int32_t* a, size_t n, const double* w, size_t count, const Uniforms& uniforms) {
  const std::vector<double> u = uniformsOf(uniforms, 0, count - 1);
  std::vector<double> xi(count);
  std::vector<uint32_t> children(count);
  size_t total = 0;
  for (size_t i = 0; i < count; ++i) {
    const Expected expected(static_cast<double>(n) * w[i]);
    children[i] = static_cast<uint32_t>(expected.copies);
    xi[i] = expected.fraction;
    total += children[i];
  }
  size_t i = 0, j = 1;  // the pair that is open; one of the two is settled at every turn
  for (size_t k = 0; k + 1 < count; ++k) {
    double raiseI = std::min(xi[j], 1 - xi[i]);
    const double raiseJ = std::min(xi[i], 1 - xi[j]), sum = raiseI + raiseJ;
    if (u[k] < (sum > 0 ? raiseI / sum : 0)) {
      std::swap(i, j);
      raiseI = raiseJ;
    }
    if (xi[j] < 1 - xi[i]) {
      xi[i] += raiseI;
      j = k + 2;
    } else {
      xi[j] -= raiseI;
      ++children[i];
      ++total;
      i = k + 2;
    }
  }
  const size_t open = std::min(i, j);  // its fractional part is 0 or 1 up to rounding
  if (total < n) children[open] += static_cast<uint32_t>(n - total);
  const int32_t* end = a + n;
  for (size_t m = 0; m < count; ++m) a = put(a, end, children[m], m);
}

// Each is kept with probability W / max W and replaced by a multinomial draw otherwise.
void killing(int32_t* a, const double* w, size_t count, const Uniforms& u) {
  const double most = *std::max_element(w, w + count);
  std::vector<size_t> killed;
  for (size_t i = 0; i < count; ++i) {
    a[i] = static_cast<int32_t>(i);
    if (uniformOf(u, i) * most >= w[i]) killed.push_back(i);
  }
  std::vector<int32_t> drawn(killed.size());
  if (!killed.empty()) multinomial(drawn.data(), drawn.size(), w, count, u, count);
  for (size_t i = 0; i < killed.size(); ++i) a[killed[i]] = drawn[i];
}

}  // namespace

Scheme schemeOf(const char* name) {
  for (const auto& named : kSchemes)
    if (std::string(name) == named.name) return named.scheme;
  throw std::invalid_argument(std::string("unknown resampling scheme ") + name);
}

void resample(int32_t* ancestors, size_t n, Scheme scheme, const double* weights, size_t count, const Uniforms& u) {
  checkResamplingSizes(n, count);
  const double sum = checkedSum(weights, count);
  std::vector<double> normalised;
  if (!isNormalised(sum)) {
    normalised.assign(weights, weights + count);
    for (double& w : normalised) w /= sum;
    weights = normalised.data();
  }
  if (n == 0) return;
  const double m = static_cast<double>(n);
  switch (scheme) {
    case Scheme::kSystematic: {
      const double u0 = uniformOf(u, 0);
      return inverseAt(ancestors, n, weights, count, [=](size_t i) { return (u0 + static_cast<double>(i)) / m; });
    }
    case Scheme::kStratified:
      return inverseAt(ancestors, n, weights, count,
                       [&](size_t i) { return (uniformOf(u, i) + static_cast<double>(i)) / m; });
    case Scheme::kMultinomial:
      return multinomial(ancestors, n, weights, count, u);
    case Scheme::kResidual:
      return residual(ancestors, n, weights, count, u);
    case Scheme::kSsp:
      return ssp(ancestors, n, weights, count, u);
    case Scheme::kKilling:
      checkKillingSizes(n, count);
      return killing(ancestors, weights, count, u);
  }
  throw std::invalid_argument("unknown resampling scheme");
}

}  // namespace feynkac
