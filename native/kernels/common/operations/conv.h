// Convolutions and linear layers. operations.h says what holds for all.
#pragma once

#include <cstddef>
#include <cstdint>

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

namespace op {

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

}  // namespace op

// clang-format off
#define FEYNKAC_CONV_OPERATIONS(DO) \
  DO(ConvPack) DO(ConvPackForGrad) DO(Conv) DO(ConvDataGrad) DO(ConvWeightGrad) DO(BiasGrad)
// clang-format on

}  // namespace feynkac
