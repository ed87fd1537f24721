// The particle operations of a backend under test, called with host memory, like Staged (staged.h): every array of a call
// gets its own allocation of exactly its size on the device, filled before and read back after.
#pragma once

#include <memory>
#include <vector>

#include "kernels/common/particles.h"
#include "staged_call.h"

namespace feynkac::test {

class StagedParticles final : public ParticleKernels {
 public:
  explicit StagedParticles(std::unique_ptr<ParticleKernels> kernels, const Schedule& schedule = {})
      : k_(std::move(kernels)), schedule_(schedule) {}

  void* allocate(size_t bytes) override { return k_->allocate(bytes); }
  void release(void* memory) override { k_->release(memory); }
  void upload(void* to, const void* from, size_t bytes) override { k_->upload(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) override { k_->download(to, from, bytes); }

  void propose(float* out, double* logForward, double* logBackward, double* alignment, double* gradSquares,
               const float* x, const float* g, const Proposal& p, const NormalKey& key, size_t rows,
               size_t d) override {
    Call c = call();
    float* to = c(out, rows * d);
    k_->propose(to, c(logForward, rows), c(logBackward, rows), c(alignment, rows), c(gradSquares, rows), c(x, rows * d),
                c(g, rows * d), p, key, rows, d);
  }
  void combine(float* out, const LinearTerms& linear, double noise, const NormalKey& key, size_t rows,
               size_t d) override {
    Call c = call();
    float* to = c(out, rows * d);
    const Terms terms(c, linear, rows, d);
    k_->combine(to, terms.linear, noise, key, rows, d);
  }
  void dct(float* out, const float* x, const Planes& shape, bool inverse, size_t rows) override {
    Call c = call();
    const size_t size = rows * shape.channels * shape.height * shape.width;
    float* to = c(out, size);
    k_->dct(to, c(x, size), shape, inverse, rows);
  }
  void uniforms(double* out, const NormalKey& key, size_t rows, size_t d) override {
    Call c = call();
    k_->uniforms(c(out, rows * d), key, rows, d);
  }
  void compose(double* energy, float* grad, double* squares, const Composition& composition, size_t rows,
               size_t d) override {
    Call c = call();
    std::vector<const double*> energies;
    std::vector<const float*> grads;
    for (int j = 0; j < composition.count; ++j) {
      energies.push_back(c(composition.energies[j], rows));
      grads.push_back(c(composition.grads[j], rows * d));
    }
    Composition staged = composition;
    staged.energies = energies.data();
    staged.grads = grads.data();
    k_->compose(c(energy, rows), c(grad, rows * d), c(squares, rows), staged, rows, d);
  }
  void rowSquares(double* out, const LinearTerms& linear, size_t rows, size_t d) override {
    Call c = call();
    const Terms terms(c, linear, rows, d);
    k_->rowSquares(c(out, rows), terms.linear, rows, d);
  }
  void rowProducts(double* out, const float* a, const float* b, const double* v, int vStride, const float* f,
                   size_t rows, size_t d) override {
    Call c = call();
    k_->rowProducts(c(out, rows), c(a, rows * d), c(b, rows * d), v, vStride, c(f, rows * d), rows, d);
  }
  void columnSquares(double* out, const float* g, const double* weights, size_t rows, size_t d, bool goesOn) override {
    Call c = call();
    k_->columnSquares(c(out, d), c(g, rows * d), c(weights, rows), rows, d, goesOn);
  }
  double meanSquares(const float* g, const double* weights, size_t rows, size_t d) override {
    Call c = call();
    return k_->meanSquares(c(g, rows * d), c(weights, rows), rows, d);
  }
  void softBox(double* energy, float* grad, const float* x, const double* lower, const double* upper, double t,
               size_t rows, size_t d) override {
    Call c = call();
    k_->softBox(c(energy, rows), c(grad, rows * d), c(x, rows * d), lower, upper, t, rows, d);
  }
  void mixtureEnergy(double* energy, float* grad, const float* x, double sigma, const GaussianMixture& m,
                     size_t rows) override {
    Call c = call();
    k_->mixtureEnergy(c(energy, rows), c(grad, rows * m.d), c(x, rows * m.d), sigma, m, rows);
  }
  void mixtureSample(float* out, const GaussianMixture& m, uint64_t seed, size_t rows) override {
    Call c = call();
    k_->mixtureSample(c(out, rows * m.d), m, seed, rows);
  }
  void sumTerms(double* out, const double* const* terms, const double* coefficients, int count, double constant,
                size_t rows) override {
    Call c = call();
    double* to = c(out, rows);
    std::vector<const double*> staged(static_cast<size_t>(count));
    for (int j = 0; j < count; ++j) staged[j] = c(terms[j], rows);
    k_->sumTerms(to, staged.data(), coefficients, count, constant, rows);
  }
  LogWeightStats logWeightStats(const double* lw, size_t n) override {
    Call c = call();
    return k_->logWeightStats(c(lw, n), n);
  }
  LogWeightStats reweight(double* lw, double* weights, const double* const* terms, const double* coefficients,
                          int count, double constant, size_t n) override {
    Call c = call();
    std::vector<const double*> staged(static_cast<size_t>(count));
    for (int j = 0; j < count; ++j) staged[j] = c(terms[j], n);
    return k_->reweight(c(lw, n), c(weights, n), staged.data(), coefficients, count, constant, n);
  }
  void resample(int32_t* ancestors, size_t n, Scheme scheme, const double* weights, size_t count,
                const Uniforms& u) override {
    Call c = call();
    k_->resample(c(ancestors, n), n, scheme, c(weights, count), count,
                 u.areGiven ? Uniforms(c(u.values, u.count), u.count) : u);
  }
  size_t countDistinct(const int32_t* ancestors, size_t n, size_t count) override {
    Call c = call();
    return k_->countDistinct(c(ancestors, n), n, count);
  }
  bool areInRange(const int32_t* ancestors, size_t n, size_t count) override {
    Call c = call();
    return k_->areInRange(c(ancestors, n), n, count);
  }
  void gather(void* out, const void* in, const int32_t* ancestors, size_t rows, size_t bytes) override {
    Call c = call();
    k_->gather(c(static_cast<char*>(out), rows * bytes), c(static_cast<const char*>(in), rows * bytes),
               c(ancestors, rows), rows, bytes);
  }
  size_t metropolis(uint8_t* accepted, const double* logRatio, const NormalKey& key, size_t rows) override {
    Call c = call();
    return k_->metropolis(c(accepted, rows), c(logRatio, rows), key, rows);
  }
  void copyAccepted(void* out, const void* in, const uint8_t* accepted, size_t rows, size_t bytes) override {
    Call c = call();
    k_->copyAccepted(c(static_cast<char*>(out), rows * bytes), c(static_cast<const char*>(in), rows * bytes),
                     c(accepted, rows), rows, bytes);
  }

 private:
  using Call = StagedCall<ParticleKernels>;
  Call call() { return Call(*k_, schedule_); }

  struct Terms {
    Terms(Call& c, const LinearTerms& l, size_t rows, size_t d) : linear(l) {
      for (int j = 0; j < l.count; ++j) terms.push_back(c(l.terms[j], rows * d));
      linear.terms = terms.data();
      if (l.perRow) linear.coefficients = c(l.coefficients, rows * size_t(l.count));
    }
    std::vector<const float*> terms;
    LinearTerms linear;
  };

  std::unique_ptr<ParticleKernels> k_;
  Schedule schedule_;
};

}  // namespace feynkac::test
