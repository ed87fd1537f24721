#include "soft_box.h"

#include <algorithm>

#include "kernels/common/soft_box_mass.h"
#include "parallel.h"

namespace feynkac {
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
