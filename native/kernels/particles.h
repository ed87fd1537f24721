// What sampling does to a population of particles, beside the network: every operation that touches all N d values,
// once, with its formula. A backend implements it next to `Kernels` (kernels.h); the conventions are the same. Arrays
// are row-major [rows, d] float32, one row per particle; sums over d are returned in float64. Nothing depends on the
// number of threads, and, because the random numbers are counter-based, nothing but the particle's number decides what
// it draws.
#pragma once

#include <cstddef>
#include <cstdint>

namespace feynkac {

// Names the normals of random.h that an operation uses: value i of row r is normal number i of (seed, purpose, step,
// particle r).
struct NormalKey {
  uint64_t seed;
  uint32_t purpose, step;
};

// sum_j coefficients[j] terms[j], elementwise. With `perRow`, coefficients is [count, rows] and row r uses
// coefficients[j][r].
struct LinearTerms {
  const float* const* terms;  // host array of `count` backend arrays
  const double* coefficients;
  int count;
  bool perRow;
};

// One move of a particle: x' = x - v g + sqrt(tau) z. Coordinate i uses v[i * vStride], tau[i * tauStride]; a stride is
// 0 or 1.
struct Proposal {
  const double *v, *tau;
  int vStride, tauStride;
};

class ParticleKernels {
 public:
  virtual ~ParticleKernels();

  // Moves all rows and returns, per row and for the stored x': logForward = log N(x'; x - v g, tau), logBackward = log
  // N(x; x', v), alignment = <g, x - x'>, gradSquares = |g|^2.
  virtual void propose(float* out, double* logForward, double* logBackward, double* alignment, double* gradSquares,
                       const float* x, const float* g, const Proposal& p, const NormalKey& key, size_t rows,
                       size_t d) = 0;
  // out = linear + noise z; out may be one of the terms. noise = 0 draws nothing.
  virtual void combine(float* out, const LinearTerms& linear, double noise, const NormalKey& key, size_t rows,
                       size_t d) = 0;
  // out[r] = |linear[r]|^2
  virtual void rowSquares(double* out, const LinearTerms& linear, size_t rows, size_t d) = 0;
  // out[i] = sum_r weights[r] g[r, i]^2
  virtual void columnSquares(double* out, const float* g, const double* weights, size_t rows, size_t d) = 0;
  // out[r] = in[ancestors[r]], rows of `bytes` bytes
  virtual void gather(void* out, const void* in, const int32_t* ancestors, size_t rows, size_t bytes) = 0;
};

ParticleKernels* makeCpuParticleKernels(const char* isa = nullptr);  // as makeCpuKernels

}  // namespace feynkac
