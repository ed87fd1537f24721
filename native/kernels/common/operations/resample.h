// Resampling of images by a separable filter. operations.h says what holds for all.
#pragma once

#include <cstddef>
#include <cstdint>

namespace feynkac {

namespace op {

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

}  // namespace op

// clang-format off
#define FEYNKAC_RESAMPLE_OPERATIONS(DO) \
  DO(Downsample) DO(Upsample)
// clang-format on

}  // namespace feynkac
