#include "covariances.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "parallel.h"

namespace feynkac {
namespace {

constexpr size_t kPiece = 1 << 15;

// Calls add(sums, row) for the usable rows of each piece, with `size` sums of its own; the sums of all pieces.
template <class F>
std::vector<double> summed(const double* weights, const double* const* columns, size_t count, size_t n, size_t size,
                           const F& add) {
  const size_t pieces = (n + kPiece - 1) / kPiece;
  std::vector<double> parts(pieces * size);
  forPieces(n, kPiece, [&](size_t first, size_t last) {
    double* sums = parts.data() + first / kPiece * size;
    for (size_t i = first; i < last; ++i) {
      bool usable = weights[i] > 0;
      for (size_t j = 0; usable && j < count; ++j) usable = std::isfinite(columns[j][i]);
      if (usable) add(sums, i);
    }
  });
  std::vector<double> out(size);
  for (size_t p = 0; p < pieces; ++p)
    for (size_t j = 0; j < size; ++j) out[j] += parts[p * size + j];
  return out;
}

}  // namespace

double covariances(double* out, const double* weights, const double* const* columns, size_t count, size_t n) {
  std::fill(out, out + count * count, 0.0);
  const auto totals = summed(weights, columns, count, n, count + 2, [&](double* sums, size_t i) {
    const double w = weights[i];
    sums[count] += w;
    sums[count + 1] += w * w;
    for (size_t j = 0; j < count; ++j) sums[j] += w * columns[j][i];
  });
  const double total = totals[count];
  if (!(total > 0)) return 0;
  std::vector<double> means(count);
  for (size_t j = 0; j < count; ++j) means[j] = totals[j] / total;
  const auto products = summed(weights, columns, count, n, count * count, [&](double* sums, size_t i) {
    for (size_t j = 0; j < count; ++j) {
      const double deviation = weights[i] * (columns[j][i] - means[j]);
      for (size_t k = j; k < count; ++k) sums[j * count + k] += deviation * (columns[k][i] - means[k]);
    }
  });
  for (size_t j = 0; j < count; ++j)
    for (size_t k = j; k < count; ++k) out[j * count + k] = out[k * count + j] = products[j * count + k] / total;
  return total * total / totals[count + 1];
}

}  // namespace feynkac
