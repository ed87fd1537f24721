// The register tile that all products of a convolution share: up to kTileRows x kTileColumns accumulators.
#pragma once

#include "kernels/cpu/cpu_kernels.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace feynkac {
namespace FEYNKAC_ISA {

#if defined(__AVX512F__)
constexpr int kTileRows = 12;  // 24 accumulators, 2 columns, 1 broadcast of 32 registers
#elif defined(__aarch64__)
constexpr int kTileRows = 8;  // 16 accumulators, 8 rows of four values each, columns in 8 of 32 registers
#else
constexpr int kTileRows = 6;  // 12 accumulators, 2 columns, 1 broadcast of 16 registers
#endif
constexpr int kTileColumns = 2 * kLanes;

FEYNKAC_INLINE int tilesOf(int n, int tile) { return (n + tile - 1) / tile; }
FEYNKAC_INLINE int roundUp(int n, int tile) { return tilesOf(n, tile) * tile; }
FEYNKAC_INLINE int least(int a, int b) { return a < b ? a : b; }
FEYNKAC_INLINE int most(int a, int b) { return a > b ? a : b; }

struct Range {
  int first, count;
};

// The i-th of `parts` about equal parts of 0 .. n
FEYNKAC_INLINE Range partOf(int n, int parts, int i) {
  const auto cut = [&](int k) { return static_cast<int>(int64_t(n) * k / parts); };
  return {cut(i), cut(i + 1) - cut(i)};
}

template <int R>
struct Tile {
  vf c[R][2];
};

template <int R>
FEYNKAC_INLINE void clear(Tile<R>& t) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) t.c[r][0] = t.c[r][1] = vf{};
}

// c[r][:] += a(r) b[:], with b of kTileColumns floats
template <int R, class A>
FEYNKAC_INLINE void rankOne(Tile<R>& t, const A& a, const float* b) {
  const vf b0 = load(b), b1 = load(b + kLanes);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    const vf v = splat(a(r));
    t.c[r][0] += v * b0;
    t.c[r][1] += v * b1;
  }
}

#if defined(__aarch64__)
template <int K, int R>
FEYNKAC_INLINE void rankLane(Tile<R>& t, const float32x4_t* v, const float* b) {
  const float32x4_t b0 = vld1q_f32(b + K * kTileColumns), b1 = vld1q_f32(b + K * kTileColumns + kLanes);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    t.c[r][0] = vfmaq_laneq_f32(t.c[r][0], b0, v[r], K);
    t.c[r][1] = vfmaq_laneq_f32(t.c[r][1], b1, v[r], K);
  }
}

// c[r][:] += a(r)[k] b[k][:] for k = 0 .. 3: what rankOne does four times, to the bit. A value of a(r) is multiplied from its place
// in a vector, so that a step takes a load for each row instead of four.
template <int R, class A>
FEYNKAC_INLINE void rankFour(Tile<R>& t, const A& a, const float* b) {
  float32x4_t v[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) v[r] = vld1q_f32(a(r));
  rankLane<0>(t, v, b);
  rankLane<1>(t, v, b);
  asm("" : "+r"(b), "+w"(t.c[R - 1][1]));  // GCC would load the next rows of b too early, and the registers not suffice
  rankLane<2>(t, v, b);
  rankLane<3>(t, v, b);
}
#endif

// c[r][:] += a(r)[k] b[k][:] for k = 0 .. n - 1
template <int R, class A>
FEYNKAC_INLINE void rankAlong(Tile<R>& t, const A& a, const float* b, int n) {
  int k = 0;
#if defined(__aarch64__)
  for (; k + 4 <= n; k += 4, b += 4 * kTileColumns)
    rankFour(
        t, [&](int r) { return a(r) + k; }, b);
#endif
  for (; k < n; ++k, b += kTileColumns)
    rankOne(
        t, [&](int r) { return a(r)[k]; }, b);
}

template <int R>
FEYNKAC_INLINE void addTile(Tile<R>& t, const float* from, size_t stride) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    t.c[r][0] += load(from + r * stride);
    t.c[r][1] += load(from + r * stride + kLanes);
  }
}

template <int R>
FEYNKAC_INLINE void storeTile(float* to, size_t stride, const Tile<R>& t) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    store(to + r * stride, t.c[r][0]);
    store(to + r * stride + kLanes, t.c[r][1]);
  }
}

template <int R>
struct Rows {
  static constexpr int kCount = R;
};

// Calls f(Rows<n>()): a number of rows as a constant, 1 <= n <= kTileRows.
template <int R = kTileRows, class F>
FEYNKAC_INLINE void withRows(int n, const F& f) {
  if constexpr (R > 1)
    if (n < R) return withRows<R - 1>(n, f);
  f(Rows<R>());
}

// Calls f(Rows<r>(), first row) for tiles that cover n rows in about equal parts: a tile of few rows would wait for its columns.
template <class F>
FEYNKAC_INLINE void forTileRows(int n, const F& f) {
  const int each = tilesOf(n, tilesOf(n, kTileRows));
  for (int first = 0; first < n; first += each)
    withRows(
        least(each, n - first), [&](auto rows) __attribute__((always_inline)) { f(rows, first); });
}

// Calls f(lane offset, count) for the one or two vectors that cover n <= kTileColumns columns.
template <class F>
FEYNKAC_INLINE void columnsOf(int n, const F& f) {
  f(0, n < kLanes ? n : kLanes);
  if (n > kLanes) f(kLanes, n - kLanes);
}

FEYNKAC_INLINE vf loadSome(const float* p, int n) { return n == kLanes ? load(p) : loadTail(p, n); }
FEYNKAC_INLINE void storeSome(float* p, vf v, int n) {
  if (n == kLanes)
    store(p, v);
  else
    storeTail(p, v, n);
}

// a + s b. Whether a compiler fuses it may hang on the code around it, and the bits with it: for arm64 it always does.
FEYNKAC_INLINE vf plusScaled(vf a, float s, vf b) {
#if defined(__aarch64__)
  return vfmaq_n_f32(a, b, s);
#else
  return a + s * b;
#endif
}

// to[r][:] += scale c[r][:] in n <= kTileColumns columns
template <int R>
FEYNKAC_INLINE void addScaled(float* to, size_t stride, float scale, const Tile<R>& t, int n) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r, to += stride) {
    storeSome(to, plusScaled(loadSome(to, least(kLanes, n)), scale, t.c[r][0]), least(kLanes, n));
    if (n > kLanes) {
      const vf more = plusScaled(loadSome(to + kLanes, n - kLanes), scale, t.c[r][1]);
      storeSome(to + kLanes, more, n - kLanes);
    }
  }
}

// What becomes of a product: y = scale (product + bias) + addScale add
struct Epilogue {
  const float* bias;  // [out] or null
  const float* add;   // like y or null; may be y
  float scale, addScale;

  // n <= kLanes channels from channel o on, at y[at]
  inline __attribute__((always_inline)) void finish(float* y, size_t at, vf product, int o, int n) const {
    if (bias) product += loadSome(bias + o, n);
    product *= scale;
    if (add) product = plusScaled(product, addScale, loadSome(add + at, n));
    storeSome(y + at, product, n);
  }
  template <int R>
  inline __attribute__((always_inline)) void finish(float* y, size_t at, const Tile<R>& t, int o, int out) const {
    const int n = least(kTileColumns, out - o);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r, at += out) {
      finish(y, at, t.c[r][0], o, least(kLanes, n));
      if (n > kLanes) finish(y, at + kLanes, t.c[r][1], o + kLanes, n - kLanes);
    }
  }
};

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
