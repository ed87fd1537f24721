// The particle operations of the CUDA backend. One file per subject implements them. They are compiled once: no product on
// tensor cores, so no second path (paths.h).
#pragma once

#include <vector>

#include "kernels/common/particles.h"
#include "kernels/cuda/cuda_kernels.h"

namespace feynkac {

using namespace FEYNKAC_PATH;  // the launchers' helpers

// Arrays of the given sizes in bytes, in one piece of scratch memory, each aligned to 256 bytes.
inline std::vector<char*> carve(Context& context, const std::vector<size_t>& bytes) {
  size_t total = 0;
  for (const size_t b : bytes) total += (b + 255) / 256 * 256;
  char* at = context.scratch<char>(total);
  std::vector<char*> out;
  for (const size_t b : bytes) {
    out.push_back(at);
    at += (b + 255) / 256 * 256;
  }
  return out;
}
template <class T>
T* as(char* memory) {
  return reinterpret_cast<T*>(memory);
}

// The arrays of LinearTerms where the device can read them, in scratch memory.
struct DeviceTerms {
  const float* const* terms;
  const double* coefficients;
  bool aligned;  // all of the terms, to 16 bytes
  DeviceTerms(Context& context, const LinearTerms& linear) : coefficients(linear.coefficients), aligned(true) {
    const size_t n = static_cast<size_t>(linear.count);
    const auto memory = carve(context, {n * sizeof(void*), n * sizeof(double)});
    context.upload(memory[0], linear.terms, n * sizeof(void*));
    terms = as<const float*>(memory[0]);
    for (size_t j = 0; j < n; ++j) aligned = aligned && aligned16(linear.terms[j]);
    if (linear.perRow) return;
    context.upload(memory[1], linear.coefficients, n * sizeof(double));
    coefficients = as<double>(memory[1]);
  }
};

class CudaParticleKernels final : public ParticleKernels {
 public:
  explicit CudaParticleKernels(int device) : context_(device) {}
  int device() const override { return context_.device(); }
  Context* context() override { return &context_; }

  // particles.cu
  void* allocate(size_t bytes) override;
  void release(void* memory) override;
  void upload(void* to, const void* hostFrom, size_t bytes) override;
  void download(void* hostTo, const void* from, size_t bytes) override;
  double elapsed(const std::function<void()>& calls) override { return context_.elapsed(calls); }
  void uniforms(double* out, const NormalKey& key, size_t rows, size_t d) override;
  size_t countDistinct(const int32_t* ancestors, size_t n, size_t count) override;
  bool areInRange(const int32_t* ancestors, size_t n, size_t count) override;
  void gather(void* out, const void* in, const int32_t* ancestors, size_t rows, size_t bytes) override;
  size_t metropolis(uint8_t* accepted, const double* logRatio, const NormalKey& key, size_t rows) override;
  void copyAccepted(void* out, const void* in, const uint8_t* accepted, size_t rows, size_t bytes) override;
  // moves.cu
  void propose(float* out, double* logForward, double* logBackward, double* alignment, double* gradSquares,
               const float* x, const float* g, const Proposal& p, const NormalKey& key, size_t rows, size_t d) override;
  void combine(float* out, const LinearTerms& linear, double noise, const NormalKey& key, size_t rows,
               size_t d) override;
  // dct.cu
  void dct(float* out, const float* x, const Planes& shape, bool inverse, size_t rows) override;
  // compositions.cu
  void compose(double* energy, float* grad, double* squares, const Composition& c, size_t rows, size_t d) override;
  void rowSquares(double* out, const LinearTerms& linear, size_t rows, size_t d) override;
  void rowProducts(double* out, const float* a, const float* b, const double* v, int vStride, const float* c,
                   size_t rows, size_t d) override;
  void columnSquares(double* out, const float* g, const double* weights, size_t rows, size_t d, bool goesOn) override;
  double meanSquares(const float* g, const double* weights, size_t rows, size_t d) override;
  // soft_box.cu
  void softBox(double* energy, float* grad, const float* x, const double* lower, const double* upper, double t,
               size_t rows, size_t d) override;
  // mixtures.cu
  void mixtureEnergy(double* energy, float* grad, const float* x, double sigma, const GaussianMixture& mixture,
                     size_t rows) override;
  void mixtureSample(float* out, const GaussianMixture& mixture, uint64_t seed, size_t rows) override;
  // log_weights.cu
  void sumTerms(double* out, const double* const* terms, const double* coefficients, int count, double constant,
                size_t rows) override;
  LogWeightStats logWeightStats(const double* lw, size_t n) override;
  LogWeightStats reweight(double* lw, double* weights, const double* const* terms, const double* coefficients,
                          int count, double constant, size_t n) override;
  // resampling.cu
  void resample(int32_t* ancestors, size_t n, Scheme scheme, const double* weights, size_t count,
                const Uniforms& uniforms) override;

 private:
  Context context_;
};

}  // namespace feynkac
