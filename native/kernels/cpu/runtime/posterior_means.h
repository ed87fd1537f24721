// Means of clean samples given noisy states, by samples of the data.
#pragma once

#include <cstddef>
#include <cstdint>

namespace feynkac {

// Row r of targets [rows, d] holds the clean sample x0 that its state x = x0 + inner[r] n was made of, and becomes an estimate of
// E[x0 | x, sigma[r]], the mean of the posterior of a noise sigma >= inner: that of x0 and the references [count, d] that matches [rows, count]
// are not 0 for, weighed by
//
//   w_i = N(x; x_i, sigma^2) / (1 + [inner < sigma] N(x; x_i, inner^2) / sum_j N(x; x_j, inner^2))
//
// References are draws of the data and x0 one of the posterior of the noise inner: the denominator is the balance heuristic of the two (Veach &
// Guibas 1995). With inner = sigma all draws are exchangeable, and the weights are those of stable target fields (Xu et al. 2023).
void posteriorMeans(float* targets, const float* states, const double* sigma, const double* inner,
                    const float* references, const uint8_t* matches, size_t rows, size_t count, size_t d);

}  // namespace feynkac
