// Weighted covariances of columns on the host.
#pragma once

#include <cstddef>

namespace feynkac {

// out [count, count]: sum_i w_i (c_j[i] - m_j) (c_k[i] - m_k) over the rows of columns [n] each that have weight and are finite in every
// column, with the weights normalised over these. Returns their effective number (sum w)^2 / sum w^2, 0 where there is none; then `out` is 0.
// Sums run over fixed pieces, so they do not depend on the number of threads.
double covariances(double* out, const double* weights, const double* const* columns, size_t count, size_t n);

}  // namespace feynkac
