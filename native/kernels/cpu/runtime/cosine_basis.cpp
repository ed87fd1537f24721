#include "kernels/common/cosine_basis.h"

#include <cmath>
#include <vector>

namespace feynkac {

void cosineBasis(float* out, size_t n) {
  const double pi = 3.14159265358979323846;
  std::vector<double> cosines(4 * n);  // the angles repeat: n^2 values need only 4 n cosines
  for (size_t i = 0; i < 4 * n; ++i) cosines[i] = std::cos(pi * static_cast<double>(i) / static_cast<double>(2 * n));
  for (size_t k = 0; k < n; ++k) {
    const double c = std::sqrt((k == 0 ? 1.0 : 2.0) / static_cast<double>(n));
    for (size_t j = 0; j < n; ++j) out[k * n + j] = static_cast<float>(c * cosines[k * (2 * j + 1) % (4 * n)]);
  }
}

}  // namespace feynkac
