// Weights of particles, in the log domain only. Sums run over fixed pieces, so they do not depend on the number of
// threads.
#pragma once

#include <cstddef>
#include <cstdint>

namespace feynkac {

struct LogWeightStats {
  double logSum;    // log sum_n exp(lw[n]); -infinity when all are
  double ess;       // (sum w)^2 / sum w^2; 0 when all are -infinity
  int64_t invalid;  // the first NaN or +infinity, -1: none. Then the other two mean nothing
};

LogWeightStats logWeightStats(const double* lw, size_t n);

// lw[n] += constant + sum_j coefficients[j] terms[j][n] where lw[n] > -infinity: a particle that has no weight stays
// without, whatever its energies became. Then weights = exp(lw) / sum exp(lw), unless the stats say that there is none.
LogWeightStats reweight(double* lw, double* weights, const double* const* terms, const double* coefficients, int count,
                        double constant, size_t n);

}  // namespace feynkac
