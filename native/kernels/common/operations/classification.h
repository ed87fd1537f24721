// The end of a classifier, and its loss. operations.h says what holds for all.
#pragma once

#include <cstddef>
#include <cstdint>

namespace feynkac {

namespace op {

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

}  // namespace op

// clang-format off
#define FEYNKAC_CLASSIFICATION_OPERATIONS(DO) \
  DO(Pool) DO(PoolAdjoint) DO(CrossEntropy)
// clang-format on

}  // namespace feynkac
