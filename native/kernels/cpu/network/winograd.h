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

// How tiles cover a side of an image: full ones first, then short ones of 3 pixels, as many as save a product without needing another
// tile. A short tile is a full one without the point at infinity, which alone reaches its last pixel: 5 of 6 products, the same
// transforms.
struct Side {
  int full, tiles;

  explicit Side(int pixels)
      : full(most(0, pixels - (kTile - 1) * tilesOf(pixels, kTile))), tiles(tilesOf(pixels, kTile)) {}
  int at(int i) const { return i * kTile - most(0, i - full); }  // first pixel of the i-th
};

// The tiles that cover the images of a batch, row by row, in the order of their kinds: full height and short width, full, short height
// and full width, short. So those that have a frequency follow each other.
struct Tiles {
  static constexpr int kKinds = 4;
  int height, width;  // of an image
  Side y, x;
  int ends[kKinds];  // of the kinds
  int count;

  explicit Tiles(const ConvShape& s) : height(s.height), width(s.width), y(s.height), x(s.width) {
    int end = 0;
    for (int kind = 0; kind < kKinds; ++kind) ends[kind] = end += s.batch * rows(kind) * columns(kind);
    count = end;
  }

  struct Place {
    int image, y, x, height, width;  // its first pixel, and how many there are
  };
  Place at(int tile) const {
    int kind = 0;
    while (tile >= ends[kind]) ++kind;
    tile -= kind > 0 ? ends[kind - 1] : 0;
    const int across = columns(kind), down = rows(kind);
    const int row = tile / across % down + (shortHeight(kind) ? y.full : 0);
    const int column = tile % across + (shortWidth(kind) ? x.full : 0);
    const Place p = {tile / (across * down), y.at(row), x.at(column), 0, 0};
    return {p.image, p.y, p.x, least(kTile - shortHeight(kind), height - p.y),
            least(kTile - shortWidth(kind), width - p.x)};
  }

  // Those of first .. first + n that have frequency f
  Range having(int f, int first, int n) const {
    const bool lastRow = f / kPatch == kPatch - 1, lastColumn = f % kPatch == kPatch - 1;
    const int begin = most(first, lastColumn ? ends[0] : 0);
    const int end = least(first + n, lastRow ? ends[1] : lastColumn ? ends[2] : count);
    return {begin, most(0, end - begin)};
  }

 private:
  static bool shortHeight(int kind) { return kind >= 2; }
  static bool shortWidth(int kind) { return kind == 0 || kind == 3; }
  int rows(int kind) const { return shortHeight(kind) ? y.tiles - y.full : y.full; }
  int columns(int kind) const { return shortWidth(kind) ? x.tiles - x.full : x.full; }
};

// Pointers to the channels of N x N pixels of an image from (y, x) on, to zeros outside of it.
template <int N>
struct Patch {
  const float* at[N][N];

  // The pixels around a tile's
  void around(const float* images, const float* zeros, int channels, const ConvShape& s, const Tiles::Place& p) {
    const int top = p.y - 1, left = p.x - 1;
    set(images, zeros, channels, s, {p.image, top, left, s.height - top, s.width - left});
  }
  // A tile's own
  void set(const float* images, const float* zeros, int channels, const ConvShape& s, const Tiles::Place& p) {
    const ptrdiff_t line = ptrdiff_t(s.width) * channels;
    const float* row = images + ((ptrdiff_t(p.image) * s.height + p.y) * s.width + p.x) * channels;
    bool inside[N];
    for (int j = 0; j < N; ++j) inside[j] = p.x + j >= 0 && j < p.width;
    for (int i = 0; i < N; ++i, row += line) {
      const bool within = p.y + i >= 0 && i < p.height;
#pragma GCC unroll 6
      for (int j = 0; j < N; ++j) at[i][j] = within & inside[j] ? row + ptrdiff_t(j) * channels : zeros;
    }
  }
};

}  // namespace winograd
}  // namespace FEYNKAC_ISA
}  // namespace feynkac
