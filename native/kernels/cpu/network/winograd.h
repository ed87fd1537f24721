// Winograd's F(4 x 4, 3 x 3) (Lavin & Gray 2016): a 4 x 4 tile of a 3 x 3 convolution by 36 products instead of 144.
//
//   y = A^T [ sum over channels of (G g G^T) . (B^T d B) ] A,  d the 6 x 6 pixels around the tile, g the 3 x 3 taps
//
// "." is elementwise: 36 matrix products over the channels, one for each "frequency". The points are 0, +-a, +-b and
// infinity with a = sqrt(1/2), b = sqrt(2). As a^2 b^2 = 1 and a^2 + b^2 = 5/2, no entry of B^T exceeds 5/2, and the
// rounding error is half of that of the usual 0, +-1, +-2 at the same number of operations.
//
// Every function takes vectors over channels. Transforms of two dimensions go by pairs of rows, those of points +-a,
// of +-b, and of 0 and infinity, for which 12 vectors suffice at a time.
#pragma once

#include "conv_tile.h"

namespace feynkac {
namespace FEYNKAC_ISA {
namespace winograd {

constexpr int kTile = 4, kPatch = 6, kFrequencies = 36;
constexpr float kA = 0.70710678118654752440f, kA2 = 0.5f, kA3 = kA2 * kA;
constexpr float kB = 1.41421356237309504880f, kB2 = 2.0f, kB3 = kB2 * kB;
constexpr int kPairs = 3;
constexpr int kPairRows[kPairs][2] = {{1, 2}, {3, 4}, {0, 5}};

// A product that is not fused with the additions it goes into: those have units of their own on many machines.
FEYNKAC_INLINE vf apart(vf v) {
#if defined(__AVX512F__)
  asm("" : "+v"(v));
#endif
  return v;
}

// v = B^T d
FEYNKAC_INLINE void inputRow(vf* v, const vf* d) {
  const vf ea = d[4] - kB2 * d[2], oa = apart(kA * (d[3] - kB2 * d[1]));
  const vf eb = d[4] - kA2 * d[2], ob = apart(kB * (d[3] - kA2 * d[1]));
  v[0] = d[0] + (d[4] - (kA2 + kB2) * d[2]);
  v[1] = ea + oa;
  v[2] = ea - oa;
  v[3] = eb + ob;
  v[4] = eb - ob;
  v[5] = d[1] + (d[5] - (kA2 + kB2) * d[3]);
}

// y = A^T q
FEYNKAC_INLINE void outputRow(vf* y, const vf* q) {
  const vf sa = q[1] + q[2], da = q[1] - q[2], sb = q[3] + q[4], db = q[3] - q[4];
  y[0] = q[0] + (sa + sb);
  y[1] = kA * da + kB * db;
  y[2] = kA2 * sa + kB2 * sb;
  y[3] = kA3 * da + (kB3 * db + q[5]);
}

// q = A y
FEYNKAC_INLINE void outputAdjointRow(vf* q, const vf* y) {
  const vf ea = y[0] + kA2 * y[2], oa = kA * y[1] + kA3 * y[3];
  const vf eb = y[0] + kB2 * y[2], ob = kB * y[1] + kB3 * y[3];
  q[0] = y[0];
  q[1] = ea + oa;
  q[2] = ea - oa;
  q[3] = eb + ob;
  q[4] = eb - ob;
  q[5] = y[3];
}

// u = G g; the rows of G are (1, x, x^2) / product of x - x' over the other points, and (0, 0, 1)
FEYNKAC_INLINE void weightRow(vf* u, const vf* g) {
  const vf ea = g[0] * (-2 / 3.0f) - g[2] * (1 / 3.0f), oa = g[1] * (-2 * kA / 3);
  const vf eb = g[0] * (1 / 6.0f) + g[2] * (1 / 3.0f), ob = g[1] * (kB / 6);
  u[0] = g[0];
  u[1] = ea + oa;
  u[2] = ea - oa;
  u[3] = eb + ob;
  u[4] = eb - ob;
  u[5] = g[2];
}

// g = G^T u
FEYNKAC_INLINE void weightAdjointRow(vf* g, const vf* u) {
  const vf sa = u[1] + u[2], da = u[1] - u[2], sb = u[3] + u[4], db = u[3] - u[4];
  g[0] = u[0] + (sa * (-2 / 3.0f) + sb * (1 / 6.0f));
  g[1] = da * (-2 * kA / 3) + db * (kB / 6);
  g[2] = u[5] + (sb * (1 / 3.0f) - sa * (1 / 3.0f));
}

// The two rows of B^T d B for the points of a pair, from to and to + rowStride on, frequencies `stride` apart; d(i, j) loads a
// vector.
template <int Pair, class L>
FEYNKAC_INLINE void inputPair(float* to, size_t rowStride, size_t stride, const L& d) {
  vf r[2][kPatch], v[kPatch];
#pragma GCC unroll 6
  for (int j = 0; j < kPatch; ++j) {
    if (Pair == 2) {
      r[0][j] = d(0, j) + (d(4, j) - (kA2 + kB2) * d(2, j));
      r[1][j] = d(1, j) + (d(5, j) - (kA2 + kB2) * d(3, j));
    } else {
      constexpr float x = Pair == 0 ? kA : kB, others = Pair == 0 ? kB2 : kA2;
      const vf even = d(4, j) - others * d(2, j), odd = apart(x * (d(3, j) - others * d(1, j)));
      r[0][j] = even + odd;
      r[1][j] = even - odd;
    }
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    inputRow(v, r[i]);
#pragma GCC unroll 6
    for (int j = 0; j < kPatch; ++j) store(to + i * rowStride + j * stride, v[j]);
  }
}

// All of B^T d B
template <class L>
FEYNKAC_INLINE void inputTile(float* to, size_t stride, const L& d) {
  const size_t row = kPatch * stride;
  inputPair<0>(to + 1 * row, row, stride, d);
  inputPair<1>(to + 3 * row, row, stride, d);
  inputPair<2>(to, 5 * row, stride, d);
}

// Two rows of A y A^T, y(i, j) of a tile
template <int Pair, class L>
FEYNKAC_INLINE void outputAdjointPair(float* to, size_t rowStride, size_t stride, const L& y) {
  vf r[2][kTile], q[kPatch];
#pragma GCC unroll 4
  for (int j = 0; j < kTile; ++j) {
    if (Pair == 2) {
      r[0][j] = y(0, j);
      r[1][j] = y(3, j);
    } else {
      constexpr float x = Pair == 0 ? kA : kB, x2 = Pair == 0 ? kA2 : kB2, x3 = Pair == 0 ? kA3 : kB3;
      const vf even = y(0, j) + x2 * y(2, j), odd = apart(x * y(1, j) + x3 * y(3, j));
      r[0][j] = even + odd;
      r[1][j] = even - odd;
    }
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    outputAdjointRow(q, r[i]);
#pragma GCC unroll 6
    for (int j = 0; j < kPatch; ++j) store(to + i * rowStride + j * stride, q[j]);
  }
}

// y = A^T q A of q(i, j): along a row at once, across the rows into the 16 sums
template <class L>
FEYNKAC_INLINE void outputTile(vf (*y)[kTile], const L& q) {
  const auto row = [&](vf * t, int i) __attribute__((always_inline)) {
    vf r[kPatch];
#pragma GCC unroll 6
    for (int j = 0; j < kPatch; ++j) r[j] = q(i, j);
    outputRow(t, r);
  };
  vf t0[kTile], t1[kTile];
  row(t0, 1);
  row(t1, 2);
#pragma GCC unroll 4
  for (int j = 0; j < kTile; ++j) {
    const vf even = t0[j] + t1[j], odd = t0[j] - t1[j];
    y[0][j] = even;
    y[1][j] = kA * odd;
    y[2][j] = kA2 * even;
    y[3][j] = kA3 * odd;
  }
  row(t0, 3);
  row(t1, 4);
#pragma GCC unroll 4
  for (int j = 0; j < kTile; ++j) {
    const vf even = t0[j] + t1[j], odd = t0[j] - t1[j];
    y[0][j] += even;
    y[1][j] += kB * odd;
    y[2][j] += kB2 * even;
    y[3][j] += kB3 * odd;
  }
  row(t0, 0);
  row(t1, 5);
#pragma GCC unroll 4
  for (int j = 0; j < kTile; ++j) {
    y[0][j] += t0[j];
    y[3][j] += t1[j];
  }
}

// The tiles that cover the images of a batch, row by row.
struct Tiles {
  int rows, columns, count;

  explicit Tiles(const ConvShape& s)
      : rows(tilesOf(s.height, kTile)), columns(tilesOf(s.width, kTile)), count(s.batch * rows * columns) {}

  struct Place {
    int image, y, x;  // of its first pixel
  };
  Place at(int tile) const { return {tile / (columns * rows), tile / columns % rows * kTile, tile % columns * kTile}; }
};

// Pointers to the channels of N x N pixels of an image from (y, x) on, to zeros outside of it.
template <int N>
struct Patch {
  const float* at[N][N];

  void set(const float* images, const float* zeros, int channels, const ConvShape& s, const Tiles::Place& p, int pad) {
    for (int i = 0; i < N; ++i) {
      const int y = p.y - pad + i;
      const bool inside = y >= 0 && y < s.height;
      for (int j = 0; j < N; ++j) {
        const int x = p.x - pad + j;
        at[i][j] = inside && x >= 0 && x < s.width
                       ? images + ((size_t(p.image) * s.height + y) * s.width + x) * channels
                       : zeros;
      }
    }
  }
};

}  // namespace winograd
}  // namespace FEYNKAC_ISA
}  // namespace feynkac
