// The orthonormal DCT-II of n values as a matrix.
#pragma once

#include <cstddef>

namespace feynkac {

// out[k n + j] = c_k cos(pi k (2 j + 1) / (2 n)), c_0 = sqrt(1/n), c_k = sqrt(2/n): row k is the k-th basis vector, so that
// the transpose is the inverse (DCT-III). Rounded once, from float64.
void cosineBasis(float* out, size_t n);

}  // namespace feynkac
