// The floor everything stands on: every operation the engine calls, once, with its shapes and formula.
//
// A backend is one class that implements `Kernels` (kernels/cpu, kernels/cuda). Pointers are memory of that backend
// (from `allocate`) unless a comment says "host". Calls are ordered: each sees the results of the ones before it.
// Images are channels last inside the engine: [batch, height, width, channels], float32, dense. Outputs come first,
// then inputs, then sizes. "y (+)= f": overwrites when `accumulate` is false, adds when it is true. An overwritten output
// may hold anything before the call, NaN included. Results do not depend on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace feynkac {

class Context;  // a stream of a CUDA device (cuda/context.h)

// Convolution with stride 1 and zero padding (kernel - 1) / 2; kernel is 1 or 3. A linear layer has height = width = 1.
struct ConvShape {
  int batch, height, width;
  int in, out;  // channels
  int kernel;
};

// One term of a weight gradient: the layer's input and the adjoint of its output.
struct ConvGradTerm {
  const float* x;   // [batch, height, width, in]
  const float* dy;  // [batch, height, width, out]
};

// Group norm, optional per-channel shift before it, optional SiLU after it:
//   xe = x + e[b, c] (e may be null), xhat = (xe - mean_g) / sqrt(var_g + eps), z = gamma xhat + beta, y = silu ? z sigmoid(z) : z
// groups = 0: no normalisation, xhat = xe, and gamma = beta = null stand for 1 and 0.
struct NormShape {
  int batch, pixels, channels;
  int groups;
  float eps;
  bool silu;
  bool rowAffine;  // gamma, beta, dgamma and dbeta are [batch, channels], a row for each sample, instead of [channels]
};

// Softmax attention over tokens, per head: o = softmax(q k^T / sqrt(channels)) v.
// qkv is [batch, tokens, 3, heads, channels], o is [batch, tokens, heads, channels].
struct AttentionShape {
  int batch, tokens, heads, channels;
};

// Adam (Kingma & Ba 2015) with gradient clipping by global norm and an exponential moving average of the weights.
struct AdamStep {
  double lr, beta1, beta2, eps;
  int64_t step;     // 1 at the first update, for the bias corrections
  double clip;      // largest global gradient norm; 0: no clipping
  double emaDecay;  // ema = emaDecay ema + (1 - emaDecay) params
};

// Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon/) for matrices, at the rate of Adam for all else.
struct MuonStep {
  double lr, momentum;
  double clip, emaDecay;  // as Adam's
};
// p(G) = constant + linear G + square G^2 of a Newton-Schulz step, and how many there are (the same source): singular values come to
// lie about 1.
constexpr float kMuonConstant = 3.4445f, kMuonLinear = -4.7750f, kMuonSquare = 2.0315f;
constexpr int kMuonRounds = 5;
// An orthogonal matrix times this and the root of its longer side moves weights about as far as Adam does (Liu et al. 2025,
// arXiv 2502.16982).
constexpr double kMuonScale = 0.2;

// The arithmetic of products (convolution, attention); sums are float32 in all of them.
enum class Precision {
  kFp32,  // as float32: on tensor cores by splitting, a b = hi hi + hi lo + lo hi in TF32
  kTf32,  // 10 bits of mantissa
  kBf16,  // 7 bits of mantissa
};

class Kernels {
 public:
  virtual ~Kernels();

  // ---- memory -------------------------------------------------------------------------------------------------------
  virtual void* allocate(size_t bytes) = 0;  // 64-byte aligned; throws std::bad_alloc
  virtual void release(void* memory) = 0;
  virtual void upload(void* to, const void* hostFrom, size_t bytes) = 0;
  virtual void download(void* hostTo, const void* from, size_t bytes) = 0;  // waits for the calls before it
  virtual void zero(void* to, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;  // both of this backend

  // ---- order, and lists of calls that repeat -----------------------------------------------------------------------------
  virtual int device() const { return -1; }  // CUDA's number of it; -1: the CPU
  // Order between backends that share a device (null stands for the CPU, where calls are ordered as they are made): calls
  // here from now on see what `other` was called for until now, and the other way round.
  virtual Context* context() { return nullptr; }
  virtual void after(Context* /*other*/) {}
  virtual void before(Context* /*other*/) {}
  // The calls as one unit that replay() repeats with the same arguments (a CUDA graph); they are not made now. Null where
  // the backend has no such thing. Make the same calls plainly once before. Memory that the calls need inside the backend
  // may move: a recording holds as long as recordingEpoch() is what it was.
  class Recording {
   public:
    virtual ~Recording();
  };
  virtual std::unique_ptr<Recording> record(const std::function<void()>&) { return nullptr; }
  virtual void replay(const Recording&) {}
  virtual int recordingEpoch() const { return 0; }
  // Runs the calls and waits for them: the seconds that they took on the device (on the CPU, by the clock).
  virtual double elapsed(const std::function<void()>& calls);

  // ---- convolution (conv) --------------------------------------------------------------------------------------------
  // By which algorithms each direction of a convolution is done, as people call them.
  struct ConvAlgorithms {
    const char *forward, *dataGrad, *weightGrad;
  };
  virtual ConvAlgorithms convAlgorithms(const ConvShape&) { return {"product", "product", "product"}; }
  // Master weights are w[kernel, kernel, in, out] (row-major). `packed` is the backend's own arrangement of them for both
  // directions, made anew whenever they change.
  virtual size_t convPackedBytes(int kernel, int in, int out) = 0;
  virtual void convPack(void* packed, const float* w, int kernel, int in, int out) = 0;
  // What convDataGrad reads of `packed`, where the backend keeps that apart: call after convPack, or never.
  virtual void convPackForGrad(void* /*packed*/, const float* /*w*/, int /*kernel*/, int /*in*/, int /*out*/) {}
  // y = scale (W x + bias + residual); bias [out] and residual [like y] may be null. y may be the same memory as residual.
  virtual void conv(float* y, const float* x, const void* packed, const float* bias, const float* residual, float scale,
                    const ConvShape& s) = 0;
  // dx (+)= scale W^T dy
  virtual void convDataGrad(float* dx, const float* dy, const void* packed, float scale, bool accumulate,
                            const ConvShape& s) = 0;
  // dw += scale sum over terms of x (outer) dy; dw like the master weights
  virtual void convWeightGrad(float* dw, const ConvGradTerm* terms, int nTerms, float scale, const ConvShape& s) = 0;
  // dbias[c] += scale sum over rows of dy[row, c]
  virtual void biasGrad(float* dbias, const float* dy, float scale, int rows, int channels) = 0;

  // ---- group norm, SiLU (norm): docs/concepts/distillation.md, the four passes of one nonlinear layer ----------------------
  // stats [batch, groups, 2] = mean and 1/std, written by `norm`, read by the others (unused when groups = 0).
  virtual void norm(float* y, float* stats, const float* x, const float* e, const float* gamma, const float* beta,
                    const NormShape& s) = 0;
  // dx (+)= J^T dy. When dgamma is not null also dgamma, dbeta += and, where de is not null, de[b, c] (+=) sum over pixels of
  // this layer's J^T dy. With groups = 0, dgamma and dbeta are null and de alone may be asked for.
  virtual void normAdjoint(float* dx, float* dgamma, float* dbeta, float* de, const float* dy, const float* x,
                           const float* e, const float* stats, const float* gamma, const float* beta, bool accumulate,
                           const NormShape& s) = 0;
  // ty = J tx
  virtual void normTangent(float* ty, const float* tx, const float* x, const float* e, const float* stats,
                           const float* gamma, const float* beta, const NormShape& s) = 0;
  // dx (+)= J^T by + d/dx <ay, J tx>; dgamma, dbeta, de as in normAdjoint, of both terms.
  virtual void normSecond(float* dx, float* dgamma, float* dbeta, float* de, const float* by, const float* ay,
                          const float* tx, const float* x, const float* e, const float* stats, const float* gamma,
                          const float* beta, bool accumulate, const NormShape& s) = 0;

  // ---- attention: the same four passes; outputs are overwritten -----------------------------------------------------------
  virtual void attention(float* o, const float* qkv, const AttentionShape& s) = 0;
  virtual void attentionAdjoint(float* dqkv, const float* ao, const float* qkv, const AttentionShape& s) = 0;
  virtual void attentionTangent(float* to, const float* tqkv, const float* qkv, const AttentionShape& s) = 0;
  // dqkv = J^T bo + d/dqkv <ao, J tqkv>
  virtual void attentionSecond(float* dqkv, const float* bo, const float* ao, const float* tqkv, const float* qkv,
                               const AttentionShape& s) = 0;

  // ---- resampling of images by a separable filter (resample) --------------------------------------------------------------
  // Down: y[b, i, j, c] (+)= gain sum_{p, q < n} taps[p] taps[q] x[b, 2 i + p - pad, 2 j + q - pad, c], pad = (n - 1) / 2, zeros
  // outside; x is [batch, height, width, channels] with even sizes, y half of it. Up is its transpose: y is twice x, gain included.
  // height and width are x's. taps: host memory, n <= 8, normalised by the caller (sum 1).
  virtual void downsample(float* y, const float* x, const float* taps, int n, float gain, bool accumulate, int batch,
                          int height, int width, int channels) = 0;
  virtual void upsample(float* y, const float* x, const float* taps, int n, float gain, bool accumulate, int batch,
                        int height, int width, int channels) = 0;

  // ---- small pieces (elementwise) -----------------------------------------------------------------------------------------
  // y[r, yOffset + i] (+)= x[r, xOffset + i], i < n: concatenation and its transpose. Rows are yWidth and xWidth long.
  virtual void copyChannels(float* y, const float* x, bool accumulate, size_t rows, int yWidth, int yOffset, int xWidth,
                            int xOffset, int n) = 0;
  // y = a x1 + b x2, elementwise; x2 may be null (then y = a x1); y may be the memory of x1 or x2.
  virtual void combine(float* y, float a, const float* x1, float b, const float* x2, size_t n) = 0;
  // out[b] = sum_i x1[b, i] x2[b, i] in float64
  virtual void dotRows(double* out, const float* x1, const float* x2, int rows, size_t n) = 0;
  // out[r] = a[r] x1[r] + b[r] x2[r] in float64
  virtual void combineRows(double* out, const double* a, const double* x1, const double* b, const double* x2,
                           int rows) = 0;
  // y[b, i, j, c] (+)= x[b, i - margin, j - margin, c], zeros outside; x is [batch, height, width, channels], y has 2 margin rows
  // and columns more. A negative margin crops, which is the transpose of its opposite.
  virtual void pad(float* y, const float* x, int margin, bool accumulate, int batch, int height, int width,
                   int channels) = 0;
  // Noise embedding: y[b] = [sin(t_b f_i), cos(t_b f_i)], i < channels / 2, or [cos, sin] where cosFirst. t [batch] and
  // freqs [channels / 2]; product, sine and cosine in float64, rounded once. channels is even.
  virtual void noiseEmbedding(float* y, const double* t, const double* freqs, bool cosFirst, int batch,
                              int channels) = 0;
  // Modulation of a group norm's gamma and beta [channels], the adaptive group norm of Dhariwal & Nichol 2021: by
  // scaleShift [batch, 2 channels], rows (s, t), to rows for each sample (NormShape::rowAffine):
  //   rowGamma[b, c] = gamma[c] (1 + s[b, c]),  rowBeta[b, c] = beta[c] (1 + s[b, c]) + t[b, c]
  virtual void modulate(float* rowGamma, float* rowBeta, const float* gamma, const float* beta, const float* scaleShift,
                        int batch, int channels) = 0;
  // dgamma[c] += sum_b (1 + s) dRowGamma, dbeta[c] += sum_b (1 + s) dRowBeta, summed in float64; overwritten, (ds, dt) =
  // dScaleShift: ds = gamma dRowGamma + beta dRowBeta, dt = dRowBeta
  virtual void modulateAdjoint(float* dgamma, float* dbeta, float* dScaleShift, const float* dRowGamma,
                               const float* dRowBeta, const float* gamma, const float* beta, const float* scaleShift,
                               int batch, int channels) = 0;
  // y[b, p, c] = a[b] x1[b, c, p] + bcoef[b] x2[b, c, p]; x2 may be null. Channels first to channels last.
  virtual void toChannelsLast(float* y, const float* a, const float* x1, const float* bcoef, const float* x2, int batch,
                              int channels, int pixels) = 0;
  // y[b, c, p] = a[b] x[b, c, p] + bcoef[b] f[b, p, c]; x may be null. y and x channels first, f channels last.
  virtual void toChannelsFirst(float* y, const float* a, const float* x, const float* bcoef, const float* f, int batch,
                               int channels, int pixels) = 0;

  // ---- dropout (dropout) ----------------------------------------------------------------------------------------------------
  // y[r, i] (+)= keep(r, i) ? x[r, i] / (1 - rate) : 0, where keep is keeps(w, rate) of random.h for word i % 4 of the block
  // (seed, kDropout + (layer << 8), step, particle first row + r, i / 4). key: {seed low, seed high, step, first row} in the
  // backend's memory, so that a recording can be replayed with another. layer < 2^24. y may be the memory of x.
  virtual void dropout(float* y, const float* x, float rate, const uint32_t* key, uint32_t layer, bool accumulate,
                       int rows, size_t n) = 0;

  // ---- classification (classification) ------------------------------------------------------------------------------------
  // y[b, c] = mean over p of x[b, p, c], summed in float64
  virtual void pool(float* y, const float* x, int batch, int pixels, int channels) = 0;
  // dx[b, p, c] (+)= dy[b, c] / pixels
  virtual void poolAdjoint(float* dx, const float* dy, bool accumulate, int batch, int pixels, int channels) = 0;
  // Softmax cross-entropy of several attributes: those of a row of `width` logits are its blocks offsets[a] .. offsets[a + 1] - 1,
  // a < attributes, offsets[0] = 0, offsets[attributes] = width (in the backend's memory); targets [batch, width] has a one-hot vector,
  // or probabilities t, in each block, or zeros where the class is unknown, which leaves the attribute out. In float64:
  //   losses[b] = -sum_i t_i ln softmax(block of i)_i,  dlogits_i = weight (softmax_i sum(t of the block) - t_i)
  virtual void crossEntropy(float* dlogits, double* losses, const float* logits, const float* targets,
                            const int32_t* offsets, float weight, int batch, int attributes, int width) = 0;

  // ---- loss and optimizer ---------------------------------------------------------------------------------------------------
  // Projection loss (docs/concepts/distillation.md): losses[b] = sum_i (g - target)^2 in float64, v = 2 weight (g - target)
  virtual void projectionLoss(float* v, double* losses, const float* g, const float* target, float weight, int batch,
                              size_t n) = 0;
  // Cross-entropy over noise levels (docs/levelled.md): sample b has the logits z[j, b] = free[j, b] - energy[j, b] and was drawn
  // at level truth[b]. losses[b] = log sum_j exp z[j, b] - z[truth[b], b], residual[j, b] = softmax_j z - (j == truth[b]) = dloss/dz,
  // c[j, b] = -weight slope[j, b] residual[j, b]: the adjoint of q where energy = slope q + const.
  virtual void levelLoss(float* c, double* losses, double* residual, const double* energy, const double* free,
                         const double* slope, const int32_t* truth, double weight, int levels, int batch) = 0;
  // out[0] = sum_i g_i^2 in float64
  virtual void sumSquares(double* out, const float* g, size_t n) = 0;
  // One pass over the flat parameters. sumsq[0] is sumSquares(grad): clipping multiplies grad by min(1, clip / sqrt(sumsq)).
  // Where sumsq is not finite nothing changes. m, v: the moments.
  virtual void adam(float* params, float* ema, float* m, float* v, const float* grad, const double* sumsq,
                    const AdamStep& step, size_t n) = 0;
  // Of one matrix [rows, columns] with its average, momentum and gradient, which is clipped as adam clips it:
  //   m = momentum m + (1 - momentum) g,  u = momentum m + (1 - momentum) g,
  //   w -= lr kMuonScale sqrt(max(rows, columns)) X p(X^T X) p(..) .., X = u / |u| with the longer side first.
  // The polynomials are multiplied before X is, in float32. Where sumsq is not finite nothing changes; where u is 0 the weights stay.
  virtual void muon(float* params, float* ema, float* m, const float* grad, const double* sumsq, const MuonStep& step,
                    int rows, int columns) = 0;
  // x[r, i] = x0[r, i] + sigma[r] n, n = the normals of random.h for (seed, purpose, step, particle firstRow + r)
  virtual void addNoise(float* x, const float* x0, const float* sigma, uint64_t seed, uint32_t purpose, uint32_t step,
                        uint32_t firstRow, int rows, size_t n) = 0;
};

// The CPU backend: one source compiled for several instruction sets, the best one the machine has chosen at run time.
// isa: null (best), "baseline", "avx2" or "avx512"; throws std::invalid_argument if the machine lacks it.
Kernels* makeCpuKernels(const char* isa = nullptr);
const char* cpuIsa();  // the one that null gives

}  // namespace feynkac
