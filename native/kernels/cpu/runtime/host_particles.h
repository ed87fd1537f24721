// The part of the CPU's particle kernels that is the same for every instruction set: mostly the engine's functions.
#pragma once

#include "kernels/common/particles.h"

namespace feynkac {

class HostParticleKernels : public ParticleKernels {
 public:
  void* allocate(size_t bytes) override;
  void release(void* memory) override;
  void upload(void* to, const void* hostFrom, size_t bytes) override;
  void download(void* hostTo, const void* from, size_t bytes) override;
  void uniforms(double* out, const NormalKey& key, size_t rows, size_t d) override;
  void compose(double* energy, float* grad, double* squares, const Composition& c, size_t rows, size_t d) override;
  double meanSquares(const float* g, const double* weights, size_t rows, size_t d) override;
  void softBox(double* energy, float* grad, const float* x, const double* lower, const double* upper, double t,
               size_t rows, size_t d) override;
  void mixtureEnergy(double* energy, float* grad, const float* x, double sigma, const GaussianMixture& mixture,
                     size_t rows) override;
  void mixtureSample(float* out, const GaussianMixture& mixture, uint64_t seed, size_t rows) override;
  void sumTerms(double* out, const double* const* terms, const double* coefficients, int count, double constant,
                size_t rows) override;
  LogWeightStats logWeightStats(const double* lw, size_t n) override;
  LogWeightStats reweight(double* lw, double* weights, const double* const* terms, const double* coefficients,
                          int count, double constant, size_t n) override;
  void resample(int32_t* ancestors, size_t n, Scheme scheme, const double* weights, size_t count,
                const Uniforms& uniforms) override;
  size_t countDistinct(const int32_t* ancestors, size_t n, size_t count) override;
  bool areInRange(const int32_t* ancestors, size_t n, size_t count) override;
  size_t metropolis(uint8_t* accepted, const double* logRatio, const NormalKey& key, size_t rows) override;
  void copyAccepted(void* out, const void* in, const uint8_t* accepted, size_t rows, size_t bytes) override;
};

// Over those with a positive weight.
double weightedSum(const double* values, const double* weights, size_t n);

}  // namespace feynkac
