// 1 x 1 convolutions and linear layers, products of matrices: y = x w over rows of pixels, dw = x^T dy.
#include "conv_parts.h"

namespace feynkac {
namespace FEYNKAC_ISA {
namespace {

constexpr int kPieceRows = 8 * kTileRows;
constexpr int kPieces = 16;        // about as many as there may be threads
constexpr int kBlockPixels = 128;  // of x and dy: a block's tile stays in the first cache level
constexpr int kBandRows = 48, kBandColumns = 2 * kTileColumns;  // of the weights' gradient, where that leaves
constexpr int kLeastBands = 8;                                  // as many
constexpr int kRanges = 8;  // of pixels, where all sums of one stay in the second cache level
constexpr size_t kMostOfRange = size_t(1) << 16;

// R rows of y[.., o .. o + kTileColumns]. A function of its own: what the loops around it keep would take registers from the tile.
template <int R>
__attribute__((noinline)) void rowsOf(float* y, const float* x, const float* panel, const Epilogue& e, size_t firstRow,
                                      int o, const ConvShape& s) {
  Tile<R> tile;
  clear(tile);
  // every third row has a pointer, which the others reach by an index: twelve pointers are more than the registers
  constexpr int kPointers = (R + 2) / 3;
  const float* row[kPointers];
  const size_t stride = s.in;
#pragma GCC unroll 4
  for (int i = 0; i < kPointers; ++i) row[i] = x + (firstRow + 3 * i) * stride;
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    const float* to = y + (firstRow + r) * s.out + o;
    __builtin_prefetch(to, 1);
    __builtin_prefetch(to + kLanes, 1);
  }
  int k = 0;
#if defined(__aarch64__)
  for (; k + 4 <= s.in; k += 4, panel += 4 * kTileColumns) {
    rankFour(
        tile, [&](int r) { return row[r / 3] + r % 3 * stride; }, panel);
#pragma GCC unroll 4
    for (int i = 0; i < kPointers; ++i) row[i] += 4;
  }
#endif
  for (; k < s.in; ++k, panel += kTileColumns) {
    rankOne(
        tile, [&](int r) { return row[r / 3][r % 3 * stride]; }, panel);
#pragma GCC unroll 4
    for (int i = 0; i < kPointers; ++i) ++row[i];
  }
  e.finish(y, firstRow * s.out + o, tile, o, s.out);
}

// A band of input and one of output channels.
struct Band {
  int firstIn, lastIn, firstOut, lastOut;
};

// dw += scale x^T dy of a band and a block of pixels.
void addBlock(float* dw, const ConvGradTerm& term, float scale, int firstPixel, const Band& band, const ConvShape& s) {
  const int pixels = least(kBlockPixels, s.batch * s.height * s.width - firstPixel);
  const float* x = term.x + size_t(firstPixel) * s.in;
  for (int o = band.firstOut; o < band.lastOut; o += kTileColumns) {
    const int columns = least(kTileColumns, s.out - o);
    const float* dy = term.dy + size_t(firstPixel) * s.out + o;
    size_t stride = s.out;
    if (columns < kTileColumns) {
      float* tail = scratch(0, size_t(kBlockPixels) * kTileColumns);
      for (int k = 0; k < pixels; ++k) {
        memset(tail + k * kTileColumns, 0, kTileColumns * sizeof(float));
        memcpy(tail + k * kTileColumns, dy + k * stride, columns * sizeof(float));
      }
      dy = tail;
      stride = kTileColumns;
    }
    forTileRows(band.lastIn - band.firstIn, [&](auto rows, int row) {
      constexpr int R = decltype(rows)::kCount;
      Tile<R> tile;
      clear(tile);
      const float *from = x + band.firstIn + row, *b = dy;
      for (int k = 0; k < pixels; ++k, from += s.in, b += stride)
        rankOne(
            tile, [&](int r) { return from[r]; }, b);
      addScaled(dw + size_t(band.firstIn + row) * s.out + o, s.out, scale, tile, columns);
    });
  }
}

}  // namespace

void pointwiseConv(float* y, const float* x, const float* packed, const Epilogue& e, const ConvShape& s) {
  const int total = s.batch * s.height * s.width, panels = tilesOf(s.out, kTileColumns);
  const int groups = tilesOf(total, kPieceRows);
  const int ranges = most(1, least(panels, tilesOf(kPieces, groups)));  // few rows: panels are work to share too
  parallelFor(groups * ranges, [&](int piece) {
    const int first = piece / ranges * kPieceRows, rows = least(kPieceRows, total - first);
    const int range = piece % ranges, end = panels * (range + 1) / ranges;
    for (int p = panels * range / ranges; p < end; ++p) {
      const int o = p * kTileColumns;
      forTileRows(rows, [&](auto r, int row) {
        rowsOf<decltype(r)::kCount>(y, x, packed + size_t(o) * s.in, e, size_t(first) + row, o, s);
      });
    }
  });
}

// Sums are float32 within a block of pixels and per block after it, which keeps the error of long sums near rounding. With few
// weights a piece owns a range of pixels and all channels: x and dy come from memory once. With many it owns a band of them and
// goes through all pixels in order.
void pointwiseWeightGrad(float* dw, const ConvGradTerm* terms, int nTerms, float scale, const ConvShape& s) {
  const int total = s.batch * s.height * s.width, blocks = tilesOf(total, kBlockPixels);
  const size_t weights = size_t(s.in) * s.out;
  if (weights > kMostOfRange || blocks < 2 * kRanges) {
    const int outBands = tilesOf(s.out, kBandColumns);
    const int inBands = least(tilesOf(s.in, kTileRows), most(tilesOf(s.in, kBandRows), tilesOf(kLeastBands, outBands)));
    parallelFor(inBands * outBands, [&](int piece) {
      const int in = piece / outBands, out = piece % outBands * kBandColumns;
      const Band band = {s.in * in / inBands, s.in * (in + 1) / inBands, out, least(s.out, out + kBandColumns)};
      for (int t = 0; t < nTerms; ++t)
        for (int k = 0; k < blocks; ++k) addBlock(dw, terms[t], scale, k * kBlockPixels, band, s);
    });
    return;
  }
  float* sums = scratch(3, kRanges * weights);
  parallelFor(kRanges, [&](int range) {
    float* own = sums + range * weights;
    memset(own, 0, weights * sizeof(float));
    for (int t = 0; t < nTerms; ++t)
      for (int k = blocks * range / kRanges; k < blocks * (range + 1) / kRanges; ++k)
        addBlock(own, terms[t], scale, k * kBlockPixels, {0, s.in, 0, s.out}, s);
  });
  for (size_t i = 0; i < weights; i += kLanes) {
    const int n = least(kLanes, static_cast<int>(weights - i));
    vf sum = loadSome(dw + i, n);
    for (int range = 0; range < kRanges; ++range) sum += loadSome(sums + range * weights + i, n);
    storeSome(dw + i, sum, n);
  }
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
