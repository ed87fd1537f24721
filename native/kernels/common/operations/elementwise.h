// Small pieces between the layers. operations.h says what holds for all.
#pragma once

#include <cstddef>
#include <cstdint>

namespace feynkac {

namespace op {

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

}  // namespace op

// clang-format off
#define FEYNKAC_ELEMENTWISE_OPERATIONS(DO) \
  DO(CopyChannels) DO(Combine) DO(DotRows) DO(CombineRows) DO(Pad) DO(NoiseEmbedding) DO(Modulate) DO(ModulateAdjoint) DO(ToChannelsLast) DO(ToChannelsFirst)
// clang-format on

}  // namespace feynkac
