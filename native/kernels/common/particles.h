// What sampling does to a population of particles, beside the network: every operation that touches all N particles or
// all their N d values, once, with its formula. A backend implements it next to `Kernels` (kernels.h) with the same
// conventions: pointers are memory of the backend unless a comment says "host", calls are ordered, outputs come first.
// Arrays are row-major [rows, d] float32, one row per particle; sums over d or over particles are float64. Nothing
// depends on the number of threads, and, because the random numbers are counter-based, nothing but the particle's number
// decides what it draws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace feynkac {

class Context;

// Names the random numbers of random.h that an operation uses: value i of row r is number i of (seed, purpose, step, particle
// first + r).
struct NormalKey {
  uint64_t seed;
  uint32_t purpose, step;
  uint32_t first = 0;
};

// sum_j coefficients[j] terms[j], elementwise; coefficients is a host array of `count`. With `perRow` it is [count, rows]
// in the backend's memory and row r uses coefficients[j][r]. A term whose coefficient is 0 is not read.
struct LinearTerms {
  const float* const* terms;  // host array of `count` arrays
  const double* coefficients;
  int count;
  bool perRow;
};

// One move of a particle: x' = x - v g + sqrt(tau) z. Coordinate i uses v[i * vStride], tau[i * tauStride]; a stride is
// 0 or 1. Host arrays.
struct Proposal {
  const double *v, *tau;
  int vStride, tauStride;
};

// The energies [rows] and gradients [rows, d] of `count` models as one: U = sum_j c_j E_j, or, as a mixture,
// U = -log sum_j exp(c_j - E_j), whose gradient weighs each model's by its share in that sum. Host arrays.
struct Composition {
  const double* const* energies;
  const float* const* grads;
  const double* coefficients;
  int count;
  bool mixture;
};

struct LogWeightStats {
  double logSum;           // log sum_n exp(lw[n]); -infinity when all are
  double ess;              // (sum w)^2 / sum w^2; 0 when all are -infinity
  int64_t invalid;         // the first NaN or +infinity, -1: none. Then the other two mean nothing
  double logSumAgain = 0;  // of reweight alone: logSum if lw had got its increment twice, for the conditional ESS
};

enum class Scheme { kSystematic, kStratified, kMultinomial, kResidual, kSsp, kKilling };
constexpr struct {
  const char* name;
  Scheme scheme;
} kSchemes[] = {{"systematic", Scheme::kSystematic},
                {"stratified", Scheme::kStratified},
                {"multinomial", Scheme::kMultinomial},
                {"residual", Scheme::kResidual},
                {"ssp", Scheme::kSsp},
                {"killing", Scheme::kKilling}};

// Numbers in [0, 1): given ones in order, or those of random.h for (seed, kResample, step).
struct Uniforms {
  Uniforms(const double* given, size_t n) : areGiven(true), values(given), count(n) {}
  Uniforms(uint64_t seedOfAll, uint32_t stepOfAll) : seed(seedOfAll), step(stepOfAll) {}
  bool areGiven = false;  // an empty array has no address
  const double* values = nullptr;
  size_t count = 0;
  uint64_t seed = 0;
  uint32_t step = 0;
};

enum class CovarianceForm { kScalar, kDiagonal, kFull };

// Host arrays.
struct GaussianMixture {
  size_t components, d;
  const double* logWeights;   // [components], normalised
  const double* means;        // [components, d]
  const double* covariances;  // [components], [components, d] or [components, d, d]; positive semidefinite
  CovarianceForm form;
};

// Images of one row: channel after channel, each height x width values. Sides of 1 to kMaxSide.
struct Planes {
  size_t channels, height, width;
  static constexpr size_t kMaxSide = 4096;
};

class ParticleKernels {
 public:
  virtual ~ParticleKernels();

  // ---- memory and time: as in Kernels -------------------------------------------------------------------------------
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* memory) = 0;
  virtual void upload(void* to, const void* hostFrom, size_t bytes) = 0;
  virtual void download(void* hostTo, const void* from, size_t bytes) = 0;
  virtual int device() const { return -1; }  // as in Kernels, and so are these
  virtual Context* context() { return nullptr; }
  virtual double elapsed(const std::function<void()>& calls);

  // ---- moves ----------------------------------------------------------------------------------------------------------
  // Moves all rows and returns, per row and for the stored x': logForward = log N(x'; x - v g, tau), logBackward = log
  // N(x; x', v), alignment = <g, x - x'>, gradSquares = |g|^2. out may be x.
  virtual void propose(float* out, double* logForward, double* logBackward, double* alignment, double* gradSquares,
                       const float* x, const float* g, const Proposal& p, const NormalKey& key, size_t rows,
                       size_t d) = 0;
  // out = linear + noise z; out may be one of the terms. noise = 0 draws nothing.
  virtual void combine(float* out, const LinearTerms& linear, double noise, const NormalKey& key, size_t rows,
                       size_t d) = 0;
  // The orthonormal two-dimensional DCT-II of every channel of every row, or its inverse (DCT-III): out[u, v] = c_u c_v
  // sum_ij x[i, j] cos(pi u (2 i + 1) / (2 height)) cos(pi v (2 j + 1) / (2 width)), c_0 = sqrt(1/n), c_k = sqrt(2/n).
  // White noise stays white noise. out may be x.
  virtual void dct(float* out, const float* x, const Planes& shape, bool inverse, size_t rows) = 0;
  // out[r d + i] = uniform number i of the key's row r
  virtual void uniforms(double* out, const NormalKey& key, size_t rows, size_t d) = 0;

  // ---- energies and gradients -----------------------------------------------------------------------------------------
  // grad must not be one of the gradients. squares (may be null): squares[r] = sum_j c_j |grads[j][r]|^2. In a mixture
  // the energy is NaN where a term is NaN or all of them are infinite with the wrong sign.
  virtual void compose(double* energy, float* grad, double* squares, const Composition& c, size_t rows, size_t d) = 0;
  // out[r] = |linear[r]|^2
  virtual void rowSquares(double* out, const LinearTerms& linear, size_t rows, size_t d) = 0;
  // out[r] = <a[r] + v b[r], c[r]>, coordinate i with v[i * vStride], the stride 0 or 1. v: host.
  virtual void rowProducts(double* out, const float* a, const float* b, const double* v, int vStride, const float* c,
                           size_t rows, size_t d) = 0;
  // out[i] = sum_r weights[r] g[r, i]^2, over the rows with a positive weight. `goesOn`, on the host alone: the sum goes on from
  // out[i], which that of earlier rows is.
  virtual void columnSquares(double* out, const float* g, const double* weights, size_t rows, size_t d,
                             bool goesOn = false) = 0;
  // sum_r weights[r] |g[r]|^2 / d, over the rows with a positive weight
  virtual double meanSquares(const float* g, const double* weights, size_t rows, size_t d) = 0;
  // The noised indicator of a box, h(x) = prod_i [Phi((upper_i - x_i)/t) - Phi((lower_i - x_i)/t)]: energy[r] =
  // -log h(x[r]) and grad[r] its gradient; exact far outside the box too. lower, upper [d]: host, may be infinite; t > 0.
  virtual void softBox(double* energy, float* grad, const float* x, const double* lower, const double* upper, double t,
                       size_t rows, size_t d) = 0;
  // energy[r] = -log sum_c w_c N(x[r]; mean_c, covariance_c + sigma^2 I) and grad[r] its gradient, in float64 inside.
  // Throws std::invalid_argument where a covariance + sigma^2 I is not positive definite.
  virtual void mixtureEnergy(double* energy, float* grad, const float* x, double sigma, const GaussianMixture& mixture,
                             size_t rows) = 0;
  // out[r] ~ the mixture without noise; draw r is a function of (seed, r) alone. Throws std::invalid_argument where a
  // covariance is not positive semidefinite.
  virtual void mixtureSample(float* out, const GaussianMixture& mixture, uint64_t seed, size_t rows) = 0;

  // out[r] = constant + sum_j coefficients[j] terms[j][r]; out may be one of the terms. terms: host array of `count`
  // arrays; coefficients: host.
  virtual void sumTerms(double* out, const double* const* terms, const double* coefficients, int count, double constant,
                        size_t rows) = 0;

  // ---- weights --------------------------------------------------------------------------------------------------------
  virtual LogWeightStats logWeightStats(const double* lw, size_t n) = 0;
  // lw[n] += constant + sum_j coefficients[j] terms[j][n] where lw[n] > -infinity: a particle that has no weight stays
  // without, whatever its energies became. Then weights = exp(lw) / sum exp(lw), unless the stats say that there is
  // none. terms: host array of `count` arrays; coefficients: host.
  virtual LogWeightStats reweight(double* lw, double* weights, const double* const* terms, const double* coefficients,
                                  int count, double constant, size_t n) = 0;

  // ---- choices between particles --------------------------------------------------------------------------------------
  // Draws ancestors [n] so that the expected number of offspring of particle i is n W_i. weights [count]: finite, not
  // negative, with a positive sum; normalised here where the sum is not 1 up to rounding. An ancestor never has weight 0
  // and is always in range. kKilling needs n == count. Throws std::invalid_argument.
  virtual void resample(int32_t* ancestors, size_t n, Scheme scheme, const double* weights, size_t count,
                        const Uniforms& uniforms) = 0;
  // How many different values ancestors [n] has, all in [0, count).
  virtual size_t countDistinct(const int32_t* ancestors, size_t n, size_t count) = 0;
  // Whether all of ancestors [n] are in [0, count).
  virtual bool areInRange(const int32_t* ancestors, size_t n, size_t count) = 0;
  // out[r] = in[ancestors[r]], rows of `bytes` bytes; out is other memory than in
  virtual void gather(void* out, const void* in, const int32_t* ancestors, size_t rows, size_t bytes) = 0;
  // accepted[r] = log(uniform number 0 of the key's row r) < logRatio[r], 0 or 1; NaN is a rejection. Returns how many were
  // accepted.
  virtual size_t metropolis(uint8_t* accepted, const double* logRatio, const NormalKey& key, size_t rows) = 0;
  // out[r] = in[r] where accepted[r], rows of `bytes` bytes; out is other memory than in
  virtual void copyAccepted(void* out, const void* in, const uint8_t* accepted, size_t rows, size_t bytes) = 0;
};

ParticleKernels* makeCpuParticleKernels(const char* isa = nullptr);  // as makeCpuKernels

}  // namespace feynkac
