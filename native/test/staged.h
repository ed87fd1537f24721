// A backend under test, called with host memory: every array of a call gets its own allocation of exactly its size on
// the device, filled before and read back after, so that the same test serves every backend and sees every overrun.
#pragma once

#include <memory>
#include <vector>

#include "kernels/common/kernels.h"
#include "staged_call.h"

namespace feynkac::test {

class Staged final : public Kernels {
 public:
  explicit Staged(std::unique_ptr<Kernels> kernels, const Schedule& schedule = {})
      : k_(std::move(kernels)), schedule_(schedule) {}

  void* allocate(size_t bytes) override { return k_->allocate(bytes); }
  void release(void* memory) override { k_->release(memory); }
  void upload(void* to, const void* from, size_t bytes) override { k_->upload(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) override { k_->download(to, from, bytes); }
  void zero(void* to, size_t bytes) override { k_->zero(to, bytes); }
  void copy(void* to, const void* from, size_t bytes) override { k_->copy(to, from, bytes); }

  size_t convPackedBytes(int kernel, int in, int out) override { return k_->convPackedBytes(kernel, in, out); }
  void convPack(void* packed, const float* w, int kernel, int in, int out) override {
    Call c = call();
    k_->convPack(packed, c(w, size_t(kernel) * kernel * in * out), kernel, in, out);
  }
  void convPackForGrad(void* packed, const float* w, int kernel, int in, int out) override {
    Call c = call();
    k_->convPackForGrad(packed, c(w, size_t(kernel) * kernel * in * out), kernel, in, out);
  }
  void conv(float* y, const float* x, const void* packed, const float* bias, const float* residual, float scale,
            const ConvShape& s) override {
    Call c = call();
    const size_t pixels = size_t(s.batch) * s.height * s.width;
    float* dy = c(y, pixels * s.out);
    k_->conv(dy, c(x, pixels * s.in), packed, c(bias, s.out), c(residual, pixels * s.out), scale, s);
  }
  void convDataGrad(float* dx, const float* dy, const void* packed, float scale, bool accumulate,
                    const ConvShape& s) override {
    Call c = call();
    const size_t pixels = size_t(s.batch) * s.height * s.width;
    k_->convDataGrad(c(dx, pixels * s.in), c(dy, pixels * s.out), packed, scale, accumulate, s);
  }
  void convWeightGrad(float* dw, const ConvGradTerm* terms, int nTerms, float scale, const ConvShape& s) override {
    Call c = call();
    const size_t pixels = size_t(s.batch) * s.height * s.width;
    std::vector<ConvGradTerm> staged(nTerms);
    for (int i = 0; i < nTerms; ++i) staged[i] = {c(terms[i].x, pixels * s.in), c(terms[i].dy, pixels * s.out)};
    k_->convWeightGrad(c(dw, size_t(s.kernel) * s.kernel * s.in * s.out), staged.data(), nTerms, scale, s);
  }
  void biasGrad(float* dbias, const float* dy, float scale, int rows, int channels) override {
    Call c = call();
    k_->biasGrad(c(dbias, channels), c(dy, size_t(rows) * channels), scale, rows, channels);
  }

  void norm(float* y, float* stats, const float* x, const float* e, const float* gamma, const float* beta,
            const NormShape& s) override {
    const Norm n(*this, s, stats, e, gamma, beta);
    k_->norm(n.all(y), n.stats, n.all(x), n.e, n.gamma, n.beta, s);
  }
  void normAdjoint(float* dx, float* dgamma, float* dbeta, float* de, const float* dy, const float* x, const float* e,
                   const float* stats, const float* gamma, const float* beta, bool accumulate,
                   const NormShape& s) override {
    const Norm n(*this, s, const_cast<float*>(stats), e, gamma, beta);
    k_->normAdjoint(n.all(dx), n.c(dgamma, n.affine), n.c(dbeta, n.affine), n.c(de, n.shifts), n.all(dy), n.all(x), n.e,
                    n.stats, n.gamma, n.beta, accumulate, s);
  }
  void normTangent(float* ty, const float* tx, const float* x, const float* e, const float* stats, const float* gamma,
                   const float* beta, const NormShape& s) override {
    const Norm n(*this, s, const_cast<float*>(stats), e, gamma, beta);
    k_->normTangent(n.all(ty), n.all(tx), n.all(x), n.e, n.stats, n.gamma, n.beta, s);
  }
  void normSecond(float* dx, float* dgamma, float* dbeta, float* de, const float* by, const float* ay, const float* tx,
                  const float* x, const float* e, const float* stats, const float* gamma, const float* beta,
                  bool accumulate, const NormShape& s) override {
    const Norm n(*this, s, const_cast<float*>(stats), e, gamma, beta);
    k_->normSecond(n.all(dx), n.c(dgamma, n.affine), n.c(dbeta, n.affine), n.c(de, n.shifts), n.all(by), n.all(ay),
                   n.all(tx), n.all(x), n.e, n.stats, n.gamma, n.beta, accumulate, s);
  }

  void attention(float* o, const float* qkv, const AttentionShape& s) override {
    Call c = call();
    k_->attention(c(o, values(s)), c(qkv, 3 * values(s)), s);
  }
  void attentionAdjoint(float* dqkv, const float* ao, const float* qkv, const AttentionShape& s) override {
    Call c = call();
    k_->attentionAdjoint(c(dqkv, 3 * values(s)), c(ao, values(s)), c(qkv, 3 * values(s)), s);
  }
  void attentionTangent(float* to, const float* tqkv, const float* qkv, const AttentionShape& s) override {
    Call c = call();
    k_->attentionTangent(c(to, values(s)), c(tqkv, 3 * values(s)), c(qkv, 3 * values(s)), s);
  }
  void attentionSecond(float* dqkv, const float* bo, const float* ao, const float* tqkv, const float* qkv,
                       const AttentionShape& s) override {
    Call c = call();
    k_->attentionSecond(c(dqkv, 3 * values(s)), c(bo, values(s)), c(ao, values(s)), c(tqkv, 3 * values(s)),
                        c(qkv, 3 * values(s)), s);
  }

  void downsample(float* y, const float* x, const float* taps, int n, float gain, bool accumulate, int batch,
                  int height, int width, int channels) override {
    Call c = call();
    const size_t large = size_t(batch) * height * width * channels;
    k_->downsample(c(y, large / 4), c(x, large), taps, n, gain, accumulate, batch, height, width, channels);
  }
  void upsample(float* y, const float* x, const float* taps, int n, float gain, bool accumulate, int batch, int height,
                int width, int channels) override {
    Call c = call();
    const size_t small = size_t(batch) * height * width * channels;
    k_->upsample(c(y, 4 * small), c(x, small), taps, n, gain, accumulate, batch, height, width, channels);
  }

  void copyChannels(float* y, const float* x, bool accumulate, size_t rows, int yWidth, int yOffset, int xWidth,
                    int xOffset, int n) override {
    Call c = call();
    k_->copyChannels(c(y, rows * yWidth), c(x, rows * xWidth), accumulate, rows, yWidth, yOffset, xWidth, xOffset, n);
  }
  void combine(float* y, float a, const float* x1, float b, const float* x2, size_t n) override {
    Call c = call();
    float* dy = c(y, n);
    k_->combine(dy, a, c(x1, n), b, c(x2, n), n);
  }
  void combineRows(double* out, const double* a, const double* x1, const double* b, const double* x2,
                   int rows) override {
    Call c = call();
    k_->combineRows(c(out, rows), c(a, rows), c(x1, rows), c(b, rows), c(x2, rows), rows);
  }
  void dotRows(double* out, const float* x1, const float* x2, int rows, size_t n) override {
    Call c = call();
    k_->dotRows(c(out, rows), c(x1, rows * n), c(x2, rows * n), rows, n);
  }
  void pad(float* y, const float* x, int margin, bool accumulate, int batch, int height, int width,
           int channels) override {
    Call c = call();
    const size_t outer = size_t(batch) * (height + 2 * margin) * (width + 2 * margin) * channels;
    k_->pad(c(y, outer), c(x, size_t(batch) * height * width * channels), margin, accumulate, batch, height, width,
            channels);
  }
  void noiseEmbedding(float* y, const double* t, const double* freqs, bool cosFirst, int batch, int channels) override {
    Call c = call();
    k_->noiseEmbedding(c(y, size_t(batch) * channels), c(t, batch), c(freqs, channels / 2), cosFirst, batch, channels);
  }
  void modulate(float* rowGamma, float* rowBeta, const float* gamma, const float* beta, const float* scaleShift,
                int batch, int channels) override {
    Call c = call();
    const size_t n = size_t(batch) * channels;
    k_->modulate(c(rowGamma, n), c(rowBeta, n), c(gamma, channels), c(beta, channels), c(scaleShift, 2 * n), batch,
                 channels);
  }
  void modulateAdjoint(float* dgamma, float* dbeta, float* dScaleShift, const float* dRowGamma, const float* dRowBeta,
                       const float* gamma, const float* beta, const float* scaleShift, int batch,
                       int channels) override {
    Call c = call();
    const size_t n = size_t(batch) * channels;
    k_->modulateAdjoint(c(dgamma, channels), c(dbeta, channels), c(dScaleShift, 2 * n), c(dRowGamma, n), c(dRowBeta, n),
                        c(gamma, channels), c(beta, channels), c(scaleShift, 2 * n), batch, channels);
  }
  void toChannelsLast(float* y, const float* a, const float* x1, const float* bcoef, const float* x2, int batch,
                      int channels, int pixels) override {
    Call c = call();
    const size_t n = size_t(batch) * channels * pixels;
    k_->toChannelsLast(c(y, n), c(a, batch), c(x1, n), c(bcoef, batch), c(x2, n), batch, channels, pixels);
  }
  void toChannelsFirst(float* y, const float* a, const float* x, const float* bcoef, const float* f, int batch,
                       int channels, int pixels) override {
    Call c = call();
    const size_t n = size_t(batch) * channels * pixels;
    k_->toChannelsFirst(c(y, n), c(a, batch), c(x, n), c(bcoef, batch), c(f, n), batch, channels, pixels);
  }

  void dropout(float* y, const float* x, float rate, const uint32_t* key, uint32_t layer, bool accumulate, int rows,
               size_t n) override {
    Call c = call();
    float* dy = c(y, rows * n);
    k_->dropout(dy, c(x, rows * n), rate, c(key, 4), layer, accumulate, rows, n);
  }

  void pool(float* y, const float* x, int batch, int pixels, int channels) override {
    Call c = call();
    const size_t n = size_t(batch) * channels;
    k_->pool(c(y, n), c(x, n * pixels), batch, pixels, channels);
  }
  void poolAdjoint(float* dx, const float* dy, bool accumulate, int batch, int pixels, int channels) override {
    Call c = call();
    const size_t n = size_t(batch) * channels;
    k_->poolAdjoint(c(dx, n * pixels), c(dy, n), accumulate, batch, pixels, channels);
  }
  void crossEntropy(float* dlogits, double* losses, const float* logits, const float* targets, const int32_t* offsets,
                    float weight, int batch, int attributes, int width) override {
    Call c = call();
    const size_t n = size_t(batch) * width;
    k_->crossEntropy(c(dlogits, n), c(losses, batch), c(logits, n), c(targets, n), c(offsets, attributes + 1), weight,
                     batch, attributes, width);
  }

  void projectionLoss(float* v, double* losses, const float* g, const float* target, float weight, int batch,
                      size_t n) override {
    Call c = call();
    k_->projectionLoss(c(v, batch * n), c(losses, batch), c(g, batch * n), c(target, batch * n), weight, batch, n);
  }
  void levelLoss(float* c, double* losses, double* residual, const double* energy, const double* free,
                 const double* slope, const int32_t* truth, double weight, int levels, int batch) override {
    Call at = call();
    const size_t n = size_t(levels) * batch;
    k_->levelLoss(at(c, n), at(losses, batch), at(residual, n), at(energy, n), at(free, n), at(slope, n),
                  at(truth, batch), weight, levels, batch);
  }
  void sumSquares(double* out, const float* g, size_t n) override {
    Call c = call();
    k_->sumSquares(c(out, 1), c(g, n), n);
  }
  void adam(float* params, float* ema, float* m, float* v, const float* grad, const double* sumsq, const AdamStep& step,
            size_t n) override {
    Call c = call();
    k_->adam(c(params, n), c(ema, n), c(m, n), c(v, n), c(grad, n), c(sumsq, 1), step, n);
  }
  void muon(float* params, float* ema, float* m, const float* grad, const double* sumsq, const MuonStep& step, int rows,
            int columns) override {
    Call c = call();
    const size_t n = size_t(rows) * columns;
    k_->muon(c(params, n), c(ema, n), c(m, n), c(grad, n), c(sumsq, 1), step, rows, columns);
  }
  void addNoise(float* x, const float* x0, const float* sigma, uint64_t seed, uint32_t purpose, uint32_t step,
                uint32_t firstRow, int rows, size_t n) override {
    Call c = call();
    k_->addNoise(c(x, rows * n), c(x0, rows * n), c(sigma, rows), seed, purpose, step, firstRow, rows, n);
  }

 private:
  using Call = StagedCall<Kernels>;
  Call call() { return Call(*k_, schedule_); }

  struct Norm {
    Norm(Staged& staged, const NormShape& s, float* hostStats, const float* hostE, const float* hostGamma,
         const float* hostBeta)
        : c(staged.call()),
          size(size_t(s.batch) * s.pixels * s.channels),
          shifts(size_t(s.batch) * s.channels),
          affine(s.rowAffine ? shifts : s.channels) {
      stats = s.groups > 0 ? c(hostStats, size_t(2) * s.batch * s.groups) : nullptr;
      e = c(hostE, shifts);
      gamma = c(hostGamma, affine);
      beta = c(hostBeta, affine);
    }
    template <class T>
    T* all(T* host) const {
      return c(host, size);
    }
    mutable Call c;
    size_t size, shifts, affine;
    float* stats;
    const float *e, *gamma, *beta;
  };

  static size_t values(const AttentionShape& s) { return size_t(s.batch) * s.tokens * s.heads * s.channels; }

  std::unique_ptr<Kernels> k_;
  Schedule schedule_;
};

}  // namespace feynkac::test
