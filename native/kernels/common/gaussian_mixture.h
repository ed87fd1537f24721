// Gaussian mixtures in closed form: exact energies at every noise level, and draws. The reference that samplers are
// tested on.
#pragma once

#include <vector>

#include "particles.h"

namespace feynkac {

// energy[r] = -log sum_c w_c N(x[r]; mean_c, covariance_c + sigma^2 I) and grad[r] its gradient, all in float64 inside.
// Throws std::invalid_argument where a covariance + sigma^2 I is not positive definite.
void mixtureEnergy(double* energy, float* grad, const float* x, double sigma, const GaussianMixture& mixture,
                   size_t rows);

// out[r] ~ the mixture without noise; draw r is a function of (seed, r) alone.
void mixtureSample(float* out, const GaussianMixture& mixture, uint64_t seed, size_t rows);

// The components at one noise level: y = L^-1 (x - mean), where L L^T is the covariance + sigma^2 I, and log w_c N(x; ...) =
// logNormal - |y|^2 / 2. Throws as mixtureEnergy.
struct MixtureLevel {
  MixtureLevel(const GaussianMixture& mixture, double sigma);
  std::vector<double> factor;  // as the covariances: L of a full form, 1 / L of the others
  std::vector<double> logNormal;
};

// Lower Cholesky factors of the covariances of a full form; throws as mixtureSample of ParticleKernels.
std::vector<double> choleskyFactors(const GaussianMixture& mixture);

// Lower Cholesky factor in place (the upper triangle is left as it is); a pivot below `floor` counts as zero, with a
// zero column. Returns false where the matrix is not positive semidefinite, or, with floor = 0, not positive definite.
bool cholesky(double* a, size_t d, double floor);

}  // namespace feynkac
