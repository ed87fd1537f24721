// The noised indicator of a box (docs/concepts/smc.md): h(x) = prod_i [Phi((upper_i - x_i)/t) - Phi((lower_i - x_i)/t)].
#pragma once

#include <cstddef>

namespace feynkac {

// energy[r] = -log h(x[r]) and grad[r] its gradient; exact far outside the box too. Bounds may be infinite; t > 0.
void softBox(double* energy, float* grad, const float* x, const double* lower, const double* upper, double t,
             size_t rows, size_t d);

}  // namespace feynkac
