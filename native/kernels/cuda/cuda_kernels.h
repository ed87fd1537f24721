// The CUDA backend, in the namespace of the path it is compiled for (paths.h). One file per subject implements it, as kernels/cpu
// does.
#pragma once

#include "context.h"
#include "grids.h"
#include "kernels/common/kernels.h"

namespace feynkac {
namespace FEYNKAC_PATH {

// Call after LAUNCH: a launch that could not be made throws.
inline void launched(const char* what) { check(cudaGetLastError(), what); }

// Before LAUNCH: lets a kernel have so much shared memory. Each device has a setting of its own; Context::stream() chooses it.
template <class Kernel>
void allowShared(Kernel kernel, size_t bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "choosing the shared memory of a kernel");
}

inline bool aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

class CudaKernels : public Kernels {
 public:
  CudaKernels(int device, Precision precision) : context_(device), precision_(precision) {}

  // memory.cu
  void* allocate(size_t bytes) override;
  void release(void* memory) override;
  void upload(void* to, const void* hostFrom, size_t bytes) override;
  void download(void* hostTo, const void* from, size_t bytes) override;
  void zero(void* to, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  int device() const override { return context_.device(); }
  Context* context() override { return &context_; }
  void after(Context* other) override { context_.after(*other); }
  void before(Context* other) override { other->after(context_); }
  std::unique_ptr<Recording> record(const std::function<void()>& calls) override;
  void replay(const Recording& recording) override;
  int recordingEpoch() const override { return context_.scratchMoves(); }
  double elapsed(const std::function<void()>& calls) override { return context_.elapsed(calls); }
  // conv.cu, conv_weight_grad.cu
  size_t convPackedBytes(int kernel, int in, int out) override;
  void convPack(void* packed, const float* w, int kernel, int in, int out) override;
  void conv(float* y, const float* x, const void* packed, const float* bias, const float* residual, float scale,
            const ConvShape& s) override;
  void convDataGrad(float* dx, const float* dy, const void* packed, float scale, bool accumulate,
                    const ConvShape& s) override;
  void convWeightGrad(float* dw, const ConvGradTerm* terms, int nTerms, float scale, const ConvShape& s) override;
  void biasGrad(float* dbias, const float* dy, float scale, int rows, int channels) override;
  // norm.cu
  void norm(float* y, float* stats, const float* x, const float* e, const float* gamma, const float* beta,
            const NormShape& s) override;
  void normAdjoint(float* dx, float* dgamma, float* dbeta, float* de, const float* dy, const float* x, const float* e,
                   const float* stats, const float* gamma, const float* beta, bool accumulate,
                   const NormShape& s) override;
  void normTangent(float* ty, const float* tx, const float* x, const float* e, const float* stats, const float* gamma,
                   const float* beta, const NormShape& s) override;
  void normSecond(float* dx, float* dgamma, float* dbeta, float* de, const float* by, const float* ay, const float* tx,
                  const float* x, const float* e, const float* stats, const float* gamma, const float* beta,
                  bool accumulate, const NormShape& s) override;
  // attention.cu
  void attention(float* o, const float* qkv, const AttentionShape& s) override;
  void attentionAdjoint(float* dqkv, const float* ao, const float* qkv, const AttentionShape& s) override;
  void attentionTangent(float* to, const float* tqkv, const float* qkv, const AttentionShape& s) override;
  void attentionSecond(float* dqkv, const float* bo, const float* ao, const float* tqkv, const float* qkv,
                       const AttentionShape& s) override;
  // resample.cu
  void downsample(float* y, const float* x, const float* taps, int n, float gain, bool accumulate, int batch,
                  int height, int width, int channels) override;
  void upsample(float* y, const float* x, const float* taps, int n, float gain, bool accumulate, int batch, int height,
                int width, int channels) override;
  // elementwise.cu
  void copyChannels(float* y, const float* x, bool accumulate, size_t rows, int yWidth, int yOffset, int xWidth,
                    int xOffset, int n) override;
  void combine(float* y, float a, const float* x1, float b, const float* x2, size_t n) override;
  void combineRows(double* out, const double* a, const double* x1, const double* b, const double* x2,
                   int rows) override;
  void dotRows(double* out, const float* x1, const float* x2, int rows, size_t n) override;
  void pad(float* y, const float* x, int margin, bool accumulate, int batch, int height, int width,
           int channels) override;
  void noiseEmbedding(float* y, const double* t, const double* freqs, bool cosFirst, int batch, int channels) override;
  void modulate(float* rowGamma, float* rowBeta, const float* gamma, const float* beta, const float* scaleShift,
                int batch, int channels) override;
  void modulateAdjoint(float* dgamma, float* dbeta, float* dScaleShift, const float* dRowGamma, const float* dRowBeta,
                       const float* gamma, const float* beta, const float* scaleShift, int batch,
                       int channels) override;
  void toChannelsLast(float* y, const float* a, const float* x1, const float* bcoef, const float* x2, int batch,
                      int channels, int pixels) override;
  void toChannelsFirst(float* y, const float* a, const float* x, const float* bcoef, const float* f, int batch,
                       int channels, int pixels) override;
  // dropout.cu
  void dropout(float* y, const float* x, float rate, const uint32_t* key, uint32_t layer, bool accumulate, int rows,
               size_t n) override;
  // classification.cu
  void pool(float* y, const float* x, int batch, int pixels, int channels) override;
  void poolAdjoint(float* dx, const float* dy, bool accumulate, int batch, int pixels, int channels) override;
  void crossEntropy(float* dlogits, double* losses, const float* logits, const float* targets, const int32_t* offsets,
                    float weight, int batch, int attributes, int width) override;
  // optimizer.cu
  void projectionLoss(float* v, double* losses, const float* g, const float* target, float weight, int batch,
                      size_t n) override;
  void levelLoss(float* c, double* losses, double* residual, const double* energy, const double* free,
                 const double* slope, const int32_t* truth, double weight, int levels, int batch) override;
  void sumSquares(double* out, const float* g, size_t n) override;
  void adam(float* params, float* ema, float* m, float* v, const float* grad, const double* sumsq, const AdamStep& step,
            size_t n) override;
  void muon(float* params, float* ema, float* m, const float* grad, const double* sumsq, const MuonStep& step, int rows,
            int columns) override;
  void addNoise(float* x, const float* x0, const float* sigma, uint64_t seed, uint32_t purpose, uint32_t step,
                uint32_t firstRow, int rows, size_t n) override;

 protected:
  Context context_;
  const Precision precision_;
};

}  // namespace FEYNKAC_PATH
}  // namespace feynkac
