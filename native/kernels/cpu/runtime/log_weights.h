// Weights of particles on the host, in the log domain only; formulas in kernels/common/particles.h. Sums run over fixed pieces,
// so they do not depend on the number of threads.
#pragma once

#include "kernels/common/particles.h"

namespace feynkac {

LogWeightStats logWeightStats(const double* lw, size_t n);

LogWeightStats reweight(double* lw, double* weights, const double* const* terms, const double* coefficients, int count,
                        double constant, size_t n);

}  // namespace feynkac
