// Every operation of a network, once, with its shapes and formula: the floor that the engine stands on.
//
// An operation is its arguments: outputs first, then inputs, then sizes. `arrays` names the arrays with their lengths and
// directions, so that whatever stages, fills, poisons or counts them needs to know no operation by name. A backend implements
// `run` for each in the list at the end (kernels.h). `each.reads` is of inputs, `each.writes` of outputs, `each.updates` of what is
// read and written, `each.packed` of weights as the backend arranges them, about so many floats. A pointer may be null where the
// contract says so.
//
// Pointers are memory of the backend (from `allocate`) unless a comment says "host"; calls are ordered: each sees the results of
// the ones before it. Images are channels last inside the engine: [batch, height, width, channels], float32, dense.
// "y (+)= f": overwrites when `accumulate` is false, adds when it is true. An overwritten output may hold anything before the
// call, NaN included. Results do not depend on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace feynkac {

// Convolution with stride 1 and zero padding (kernel - 1) / 2; kernel is 1 or 3. A linear layer has height = width = 1.
struct ConvShape {
  int batch, height, width;
  int in, out;  // channels
  int kernel;

  size_t pixels() const { return size_t(batch) * height * width; }
  size_t weights() const { return size_t(kernel) * kernel * in * out; }
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

  size_t values() const { return shifts() * pixels; }
  size_t shifts() const { return size_t(batch) * channels; }
  size_t affine() const { return rowAffine ? shifts() : size_t(channels); }
  size_t stats() const { return size_t(2) * batch * groups; }
};

// Softmax attention over tokens, per head: o = softmax(q k^T / sqrt(channels)) v.
// qkv is [batch, tokens, 3, heads, channels], o is [batch, tokens, heads, channels].
struct AttentionShape {
  int batch, tokens, heads, channels;

  size_t values() const { return size_t(batch) * tokens * heads * channels; }
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

namespace op {

// ---- convolution (conv) ----------------------------------------------------------------------------------------------

// Master weights are w[kernel, kernel, in, out] (row-major). `packed` is the backend's own arrangement of them for both
// directions, made anew whenever they change; it may be no more than where w is, which stays there as long as it is used.
// convPackedBytes() says its size.
struct ConvPack {
  static constexpr const char* kKind = "pack";
  void* packed;
  const float* w;
  int kernel, in, out;
  template <class Each>
  void arrays(Each&& each) {
    each.packed(packed, size_t(kernel) * kernel * in * out);
    each.reads(w, size_t(kernel) * kernel * in * out);
  }
};

// What ConvDataGrad reads of `packed`, where the backend keeps that apart: call after ConvPack, or never.
struct ConvPackForGrad {
  static constexpr const char* kKind = "pack";
  void* packed;
  const float* w;
  int kernel, in, out;
  template <class Each>
  void arrays(Each&& each) {
    each.packed(packed, size_t(kernel) * kernel * in * out);
    each.reads(w, size_t(kernel) * kernel * in * out);
  }
};

// y = scale (W x + bias + residual); bias [out] and residual [like y] may be null. y may be the same memory as residual.
struct Conv {
  static constexpr const char* kKind = "conv forward";
  float* y;
  const float* x;
  const void* packed;
  const float *bias, *residual;
  float scale;
  ConvShape s;
  double products() const { return 2.0 * double(s.pixels()) * double(s.weights()); }
  template <class Each>
  void arrays(Each&& each) {
    each.writes(y, s.pixels() * s.out);
    each.reads(x, s.pixels() * s.in);
    each.packed(packed, s.weights());
    each.reads(bias, s.out);
    each.reads(residual, s.pixels() * s.out);
  }
};

// dx (+)= scale W^T dy
struct ConvDataGrad {
  static constexpr const char* kKind = "conv data gradient";
  float* dx;
  const float* dy;
  const void* packed;
  float scale;
  bool accumulate;
  ConvShape s;
  double products() const { return 2.0 * double(s.pixels()) * double(s.weights()); }
  template <class Each>
  void arrays(Each&& each) {
    each.writes(dx, s.pixels() * s.in, accumulate);
    each.reads(dy, s.pixels() * s.out);
    each.packed(packed, s.weights());
  }
};

// dw += scale sum over terms of x (outer) dy; dw like the master weights
struct ConvWeightGrad {
  static constexpr const char* kKind = "conv weight gradient";
  float* dw;
  ConvGradTerm terms[2];
  int nTerms;
  float scale;
  ConvShape s;
  double products() const { return 2.0 * nTerms * double(s.pixels()) * double(s.weights()); }
  template <class Each>
  void arrays(Each&& each) {
    each.updates(dw, s.weights());
    for (int i = 0; i < nTerms; ++i) {
      each.reads(terms[i].x, s.pixels() * s.in);
      each.reads(terms[i].dy, s.pixels() * s.out);
    }
  }
};

// dbias[c] += scale sum over rows of dy[row, c]
struct BiasGrad {
  static constexpr const char* kKind = "bias gradient";
  float* dbias;
  const float* dy;
  float scale;
  int rows, channels;
  template <class Each>
  void arrays(Each&& each) {
    each.updates(dbias, channels);
    each.reads(dy, size_t(rows) * channels);
  }
};

// ---- group norm, SiLU (norm): docs/concepts/distillation.md, the four passes of one nonlinear layer ------------------

// stats [batch, groups, 2] = mean and 1/std, written here, read by the others (unused when groups = 0).
struct Norm {
  static constexpr const char* kKind = "norm";
  float *y, *stats;
  const float *x, *e, *gamma, *beta;
  NormShape s;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(y, s.values());
    each.writes(stats, s.stats());
    each.reads(x, s.values());
    each.reads(e, s.shifts());
    each.reads(gamma, s.affine());
    each.reads(beta, s.affine());
  }
};

// dx (+)= J^T dy. When dgamma is not null also dgamma, dbeta += and, where de is not null, de[b, c] (+=) sum over pixels of
// this layer's J^T dy. With groups = 0, dgamma and dbeta are null and de alone may be asked for.
struct NormAdjoint {
  static constexpr const char* kKind = "norm";
  float *dx, *dgamma, *dbeta, *de;
  const float *dy, *x, *e, *stats, *gamma, *beta;
  bool accumulate;
  NormShape s;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(dx, s.values(), accumulate);
    each.updates(dgamma, s.affine());
    each.updates(dbeta, s.affine());
    each.updates(de, s.shifts());
    each.reads(dy, s.values());
    each.reads(x, s.values());
    each.reads(e, s.shifts());
    each.reads(stats, s.stats());
    each.reads(gamma, s.affine());
    each.reads(beta, s.affine());
  }
};

// ty = J tx
struct NormTangent {
  static constexpr const char* kKind = "norm";
  float* ty;
  const float *tx, *x, *e, *stats, *gamma, *beta;
  NormShape s;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(ty, s.values());
    each.reads(tx, s.values());
    each.reads(x, s.values());
    each.reads(e, s.shifts());
    each.reads(stats, s.stats());
    each.reads(gamma, s.affine());
    each.reads(beta, s.affine());
  }
};

// dx (+)= J^T by + d/dx <ay, J tx>; dgamma, dbeta, de as in NormAdjoint, of both terms.
struct NormSecond {
  static constexpr const char* kKind = "norm";
  float *dx, *dgamma, *dbeta, *de;
  const float *by, *ay, *tx, *x, *e, *stats, *gamma, *beta;
  bool accumulate;
  NormShape s;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(dx, s.values(), accumulate);
    each.updates(dgamma, s.affine());
    each.updates(dbeta, s.affine());
    each.updates(de, s.shifts());
    each.reads(by, s.values());
    each.reads(ay, s.values());
    each.reads(tx, s.values());
    each.reads(x, s.values());
    each.reads(e, s.shifts());
    each.reads(stats, s.stats());
    each.reads(gamma, s.affine());
    each.reads(beta, s.affine());
  }
};

// ---- attention: the same four passes; outputs are overwritten --------------------------------------------------------

struct Attention {
  static constexpr const char* kKind = "attention";
  float* o;
  const float* qkv;
  AttentionShape s;
  double products() const { return 4.0 * double(s.values()) * s.tokens; }
  template <class Each>
  void arrays(Each&& each) {
    each.writes(o, s.values());
    each.reads(qkv, 3 * s.values());
  }
};

struct AttentionAdjoint {
  static constexpr const char* kKind = "attention";
  float* dqkv;
  const float *ao, *qkv;
  AttentionShape s;
  double products() const { return 10.0 * double(s.values()) * s.tokens; }
  template <class Each>
  void arrays(Each&& each) {
    each.writes(dqkv, 3 * s.values());
    each.reads(ao, s.values());
    each.reads(qkv, 3 * s.values());
  }
};

struct AttentionTangent {
  static constexpr const char* kKind = "attention";
  float* to;
  const float *tqkv, *qkv;
  AttentionShape s;
  double products() const { return 10.0 * double(s.values()) * s.tokens; }
  template <class Each>
  void arrays(Each&& each) {
    each.writes(to, s.values());
    each.reads(tqkv, 3 * s.values());
    each.reads(qkv, 3 * s.values());
  }
};

// dqkv = J^T bo + d/dqkv <ao, J tqkv>
struct AttentionSecond {
  static constexpr const char* kKind = "attention";
  float* dqkv;
  const float *bo, *ao, *tqkv, *qkv;
  AttentionShape s;
  double products() const { return 28.0 * double(s.values()) * s.tokens; }
  template <class Each>
  void arrays(Each&& each) {
    each.writes(dqkv, 3 * s.values());
    each.reads(bo, s.values());
    each.reads(ao, s.values());
    each.reads(tqkv, 3 * s.values());
    each.reads(qkv, 3 * s.values());
  }
};

// ---- resampling of images by a separable filter (resample) -----------------------------------------------------------

// Down: y[b, i, j, c] (+)= gain sum_{p, q < n} taps[p] taps[q] x[b, 2 i + p - pad, 2 j + q - pad, c], pad = (n - 1) / 2, zeros
// outside; x is [batch, height, width, channels] with even sizes, y half of it. Up is its transpose: y is twice x, gain included.
// height and width are x's. taps: host memory, n <= 8, normalised by the caller (sum 1).
struct Downsample {
  static constexpr const char* kKind = "resampling";
  float* y;
  const float *x, *taps;
  int n;
  float gain;
  bool accumulate;
  int batch, height, width, channels;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(y, size_t(batch) * height * width * channels / 4, accumulate);
    each.reads(x, size_t(batch) * height * width * channels);
  }
};

struct Upsample {
  static constexpr const char* kKind = "resampling";
  float* y;
  const float *x, *taps;
  int n;
  float gain;
  bool accumulate;
  int batch, height, width, channels;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(y, 4 * size_t(batch) * height * width * channels, accumulate);
    each.reads(x, size_t(batch) * height * width * channels);
  }
};

// ---- small pieces (elementwise) --------------------------------------------------------------------------------------

// y[r, yOffset + i] (+)= x[r, xOffset + i], i < n: concatenation and its transpose. Rows are yWidth and xWidth long.
struct CopyChannels {
  static constexpr const char* kKind = "elementwise";
  float* y;
  const float* x;
  bool accumulate;
  size_t rows;
  int yWidth, yOffset, xWidth, xOffset, n;
  template <class Each>
  void arrays(Each&& each) {
    each.updates(y, rows * yWidth);
    each.reads(x, rows * xWidth);
  }
};

// y = a x1 + b x2, elementwise; x2 may be null (then y = a x1); y may be the memory of x1 or x2.
struct Combine {
  static constexpr const char* kKind = "elementwise";
  float* y;
  float a;
  const float* x1;
  float b;
  const float* x2;
  size_t n;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(y, n);
    each.reads(x1, n);
    each.reads(x2, n);
  }
};

// out[b] = sum_i x1[b, i] x2[b, i] in float64
struct DotRows {
  static constexpr const char* kKind = "elementwise";
  double* out;
  const float *x1, *x2;
  int rows;
  size_t n;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(out, rows);
    each.reads(x1, rows * n);
    each.reads(x2, rows * n);
  }
};

// out[r] = a[r] x1[r] + b[r] x2[r] in float64
struct CombineRows {
  static constexpr const char* kKind = "elementwise";
  double* out;
  const double *a, *x1, *b, *x2;
  int rows;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(out, rows);
    each.reads(a, rows);
    each.reads(x1, rows);
    each.reads(b, rows);
    each.reads(x2, rows);
  }
};

// y[b, i, j, c] (+)= x[b, i - margin, j - margin, c], zeros outside; x is [batch, height, width, channels], y has 2 margin rows
// and columns more. A negative margin crops, which is the transpose of its opposite.
struct Pad {
  static constexpr const char* kKind = "elementwise";
  float* y;
  const float* x;
  int margin;
  bool accumulate;
  int batch, height, width, channels;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(y, size_t(batch) * (height + 2 * margin) * (width + 2 * margin) * channels, accumulate);
    each.reads(x, size_t(batch) * height * width * channels);
  }
};

// Noise embedding: y[b] = [sin(t_b f_i), cos(t_b f_i)], i < channels / 2, or [cos, sin] where cosFirst. t [batch] and
// freqs [channels / 2]; product, sine and cosine in float64, rounded once. channels is even.
struct NoiseEmbedding {
  static constexpr const char* kKind = "elementwise";
  float* y;
  const double *t, *freqs;
  bool cosFirst;
  int batch, channels;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(y, size_t(batch) * channels);
    each.reads(t, batch);
    each.reads(freqs, channels / 2);
  }
};

// Modulation of a group norm's gamma and beta [channels], the adaptive group norm of Dhariwal & Nichol 2021: by
// scaleShift [batch, 2 channels], rows (s, t), to rows for each sample (NormShape::rowAffine):
//   rowGamma[b, c] = gamma[c] (1 + s[b, c]),  rowBeta[b, c] = beta[c] (1 + s[b, c]) + t[b, c]
struct Modulate {
  static constexpr const char* kKind = "elementwise";
  float *rowGamma, *rowBeta;
  const float *gamma, *beta, *scaleShift;
  int batch, channels;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(rowGamma, size_t(batch) * channels);
    each.writes(rowBeta, size_t(batch) * channels);
    each.reads(gamma, channels);
    each.reads(beta, channels);
    each.reads(scaleShift, size_t(2) * batch * channels);
  }
};

// dgamma[c] += sum_b (1 + s) dRowGamma, dbeta[c] += sum_b (1 + s) dRowBeta, summed in float64; overwritten, (ds, dt) =
// dScaleShift: ds = gamma dRowGamma + beta dRowBeta, dt = dRowBeta
struct ModulateAdjoint {
  static constexpr const char* kKind = "elementwise";
  float *dgamma, *dbeta, *dScaleShift;
  const float *dRowGamma, *dRowBeta, *gamma, *beta, *scaleShift;
  int batch, channels;
  template <class Each>
  void arrays(Each&& each) {
    each.updates(dgamma, channels);
    each.updates(dbeta, channels);
    each.writes(dScaleShift, size_t(2) * batch * channels);
    each.reads(dRowGamma, size_t(batch) * channels);
    each.reads(dRowBeta, size_t(batch) * channels);
    each.reads(gamma, channels);
    each.reads(beta, channels);
    each.reads(scaleShift, size_t(2) * batch * channels);
  }
};

// y[b, p, c] = a[b] x1[b, c, p] + bcoef[b] x2[b, c, p]; x2 may be null. Channels first to channels last.
struct ToChannelsLast {
  static constexpr const char* kKind = "elementwise";
  float* y;
  const float *a, *x1, *bcoef, *x2;
  int batch, channels, pixels;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(y, size_t(batch) * channels * pixels);
    each.reads(a, batch);
    each.reads(x1, size_t(batch) * channels * pixels);
    each.reads(bcoef, batch);
    each.reads(x2, size_t(batch) * channels * pixels);
  }
};

// y[b, c, p] = a[b] x[b, c, p] + bcoef[b] f[b, p, c]; x may be null. y and x channels first, f channels last.
struct ToChannelsFirst {
  static constexpr const char* kKind = "elementwise";
  float* y;
  const float *a, *x, *bcoef, *f;
  int batch, channels, pixels;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(y, size_t(batch) * channels * pixels);
    each.reads(a, batch);
    each.reads(x, size_t(batch) * channels * pixels);
    each.reads(bcoef, batch);
    each.reads(f, size_t(batch) * channels * pixels);
  }
};

// ---- dropout (dropout) -----------------------------------------------------------------------------------------------

// y[r, i] (+)= keep(r, i) ? x[r, i] / (1 - rate) : 0, where keep is keeps(w, rate) of random.h for word i % 4 of the block
// (seed, kDropout + (layer << 8), step, particle first row + r, i / 4). key: {seed low, seed high, step, first row} in the
// backend's memory, so that a recording can be replayed with another. layer < 2^24. y may be the memory of x.
struct Dropout {
  static constexpr const char* kKind = "elementwise";
  float* y;
  const float* x;
  float rate;
  const uint32_t* key;
  uint32_t layer;
  bool accumulate;
  int rows;
  size_t n;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(y, rows * n, accumulate);
    each.reads(x, rows * n);
    each.reads(key, 4);
  }
};

// ---- classification (classification) ---------------------------------------------------------------------------------

// y[b, c] = mean over p of x[b, p, c], summed in float64
struct Pool {
  static constexpr const char* kKind = "elementwise";
  float* y;
  const float* x;
  int batch, pixels, channels;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(y, size_t(batch) * channels);
    each.reads(x, size_t(batch) * channels * pixels);
  }
};

// dx[b, p, c] (+)= dy[b, c] / pixels
struct PoolAdjoint {
  static constexpr const char* kKind = "elementwise";
  float* dx;
  const float* dy;
  bool accumulate;
  int batch, pixels, channels;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(dx, size_t(batch) * channels * pixels, accumulate);
    each.reads(dy, size_t(batch) * channels);
  }
};

// Softmax cross-entropy of several attributes: those of a row of `width` logits are its blocks offsets[a] .. offsets[a + 1] - 1,
// a < attributes, offsets[0] = 0, offsets[attributes] = width (in the backend's memory); targets [batch, width] has a one-hot vector,
// or probabilities t, in each block, or zeros where the class is unknown, which leaves the attribute out. In float64:
//   losses[b] = -sum_i t_i ln softmax(block of i)_i,  dlogits_i = weight (softmax_i sum(t of the block) - t_i)
struct CrossEntropy {
  static constexpr const char* kKind = "elementwise";
  float* dlogits;
  double* losses;
  const float *logits, *targets;
  const int32_t* offsets;
  float weight;
  int batch, attributes, width;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(dlogits, size_t(batch) * width);
    each.writes(losses, batch);
    each.reads(logits, size_t(batch) * width);
    each.reads(targets, size_t(batch) * width);
    each.reads(offsets, attributes + 1);
  }
};

// ---- loss and optimizer ----------------------------------------------------------------------------------------------

// What a loss of outputs is, but for its arrays. Heads carry it from the addon to the operation.
struct LossForm {
  float weight = 1;

  bool operator==(const LossForm& other) const { return weight == other.weight; }
  LossForm weighed(double by) const {
    LossForm form = *this;
    form.weight = static_cast<float>(by);
    return form;
  }
};

// Projection loss (docs/concepts/distillation.md): losses[b] = sum_i (g - target)^2 in float64, v = 2 form.weight (g - target)
struct ProjectionLoss {
  static constexpr const char* kKind = "elementwise";
  float* v;
  double* losses;
  const float *g, *target;
  LossForm form;
  int batch;
  size_t n;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(v, batch * n);
    each.writes(losses, batch);
    each.reads(g, batch * n);
    each.reads(target, batch * n);
  }
};

// Cross-entropy over noise levels (docs/levelled.md): sample b has the logits z[j, b] = free[j, b] - energy[j, b] and was drawn
// at level truth[b]. losses[b] = log sum_j exp z[j, b] - z[truth[b], b], residual[j, b] = softmax_j z - (j == truth[b]) = dloss/dz,
// c[j, b] = -weight slope[j, b] residual[j, b]: the adjoint of q where energy = slope q + const.
struct LevelLoss {
  static constexpr const char* kKind = "elementwise";
  float* c;
  double *losses, *residual;
  const double *energy, *free, *slope;
  const int32_t* truth;
  double weight;
  int levels, batch;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(c, size_t(levels) * batch);
    each.writes(losses, batch);
    each.writes(residual, size_t(levels) * batch);
    each.reads(energy, size_t(levels) * batch);
    each.reads(free, size_t(levels) * batch);
    each.reads(slope, size_t(levels) * batch);
    each.reads(truth, batch);
  }
};

// out[0] = sum_i g_i^2 in float64
struct SumSquares {
  static constexpr const char* kKind = "optimizer";
  double* out;
  const float* g;
  size_t n;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(out, 1);
    each.reads(g, n);
  }
};

// One pass over the flat parameters. sumsq[0] is that of SumSquares(grad): clipping multiplies grad by min(1, clip / sqrt(sumsq)).
// Where sumsq is not finite nothing changes. m, v: the moments.
struct Adam {
  static constexpr const char* kKind = "optimizer";
  float *params, *ema, *m, *v;
  const float* grad;
  const double* sumsq;
  AdamStep step;
  size_t n;
  template <class Each>
  void arrays(Each&& each) {
    each.updates(params, n);
    each.updates(ema, n);
    each.updates(m, n);
    each.updates(v, n);
    each.reads(grad, n);
    each.reads(sumsq, 1);
  }
};

// One matrix [rows, columns] with its average, momentum and gradient, which is clipped as Adam clips it:
//   m = momentum m + (1 - momentum) g,  u = momentum m + (1 - momentum) g,
//   w -= lr kMuonScale sqrt(max(rows, columns)) X p(X^T X) p(..) .., X = u / |u| with the longer side first.
// The polynomials are multiplied before X is, in float32. Where sumsq is not finite nothing changes; where u is 0 the weights stay.
struct Muon {
  static constexpr const char* kKind = "optimizer";
  float *params, *ema, *m;
  const float* grad;
  const double* sumsq;
  MuonStep step;
  int rows, columns;
  template <class Each>
  void arrays(Each&& each) {
    const size_t n = size_t(rows) * columns;
    each.updates(params, n);
    each.updates(ema, n);
    each.updates(m, n);
    each.reads(grad, n);
    each.reads(sumsq, 1);
  }
  double products() const {
    const double narrow = rows < columns ? rows : columns;
    return (4.0 * rows * columns + (4 * kMuonRounds - 3) * 2 * narrow * narrow) * narrow;
  }
};

// x[r, i] = x0[r, i] + sigma[r] n, n = the normals of random.h for (seed, purpose, step, particle firstRow + r)
struct AddNoise {
  static constexpr const char* kKind = "elementwise";
  float* x;
  const float *x0, *sigma;
  uint64_t seed;
  uint32_t purpose, step, firstRow;
  int rows;
  size_t n;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(x, rows * n);
    each.reads(x0, rows * n);
    each.reads(sigma, rows);
  }
};

}  // namespace op

namespace op {

template <class Op, class = double>
struct HasProducts : std::false_type {};
template <class Op>
struct HasProducts<Op, decltype(std::declval<const Op&>().products())> : std::true_type {};
// Whether an operation has products, which the reduced precisions round the factors of.
template <class Op>
constexpr bool hasProducts = HasProducts<Op>::value;

}  // namespace op

// All of them: what a backend implements, and what is made for each (staged.h, counting.h).
// clang-format off
#define FEYNKAC_OPERATIONS(DO) \
  DO(ConvPack) DO(ConvPackForGrad) DO(Conv) DO(ConvDataGrad) DO(ConvWeightGrad) DO(BiasGrad) DO(Norm) \
  DO(NormAdjoint) DO(NormTangent) DO(NormSecond) DO(Attention) DO(AttentionAdjoint) DO(AttentionTangent) \
  DO(AttentionSecond) DO(Downsample) DO(Upsample) DO(CopyChannels) DO(Combine) DO(DotRows) DO(CombineRows) \
  DO(Pad) DO(NoiseEmbedding) DO(Modulate) DO(ModulateAdjoint) DO(ToChannelsLast) DO(ToChannelsFirst) DO(Dropout) \
  DO(Pool) DO(PoolAdjoint) DO(CrossEntropy) DO(ProjectionLoss) DO(LevelLoss) DO(SumSquares) DO(Adam) DO(Muon) \
  DO(AddNoise)
// clang-format on

}  // namespace feynkac
