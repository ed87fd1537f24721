// Dropout. operations.h says what holds for all.
#pragma once

#include <cstddef>
#include <cstdint>

namespace feynkac {

namespace op {

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

}  // namespace op

// clang-format off
#define FEYNKAC_DROPOUT_OPERATIONS(DO) \
  DO(Dropout)
// clang-format on

}  // namespace feynkac
