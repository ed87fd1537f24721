#include "extremes.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace feynkac {

size_t extremes(int32_t* chosen, const double* weights, size_t n, double share) {
  std::vector<int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int32_t i, int32_t j) { return weights[i] < weights[j] || (weights[i] == weights[j] && i < j); });
  double rest = 0;  // of squares, without those chosen
  for (size_t i = 0; i < n; ++i) rest += weights[i] * weights[i];
  size_t small = 0, large = n;  // chosen: order[0 .. small - 1] and order[large .. n - 1]
  double total = 0;
  const auto take = [&](int32_t i) {
    total += weights[i];
    rest -= weights[i] * weights[i];
  };
  while (small < large) {
    take(order[--large]);
    while (small < large && total * double(n) > double(small + n - large)) take(order[small++]);
    const size_t count = small + n - large;
    if (1 / (std::max(0.0, rest) + total * total / double(count)) >= share * double(n)) break;
  }
  int32_t* end = std::copy(order.begin(), order.begin() + static_cast<ptrdiff_t>(small), chosen);
  end = std::copy(order.begin() + static_cast<ptrdiff_t>(large), order.end(), end);
  std::sort(chosen, end);
  return static_cast<size_t>(end - chosen);
}

}  // namespace feynkac
