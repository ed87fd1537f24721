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
  for (int k = 0; k < s.in; ++k, panel += kTileColumns) {
    rankOne(
        tile, [&](int r) { return row[r / 3][r % 3 * stride]; }, panel);
#pragma GCC unroll 4
    for (int i = 0; i < kPointers; ++i) ++row[i];
  }
  e.finish(y, firstRow * s.out + o, tile, o, s.out);
}

}  // namespace

void pointwiseConv(float* y, const float* x, const float* packed, const Epilogue& e, const ConvShape& s) {
  const int total = s.batch * s.height * s.width, panels = tilesOf(s.out, kTileColumns);
  const int groups = tilesOf(total, kPieceRows);
  const int ranges = most(1, least(panels, kPieces / groups));  // few rows: panels are work to share too
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

// A piece owns a band of input and one of output channels, and goes through all pixels in order. Sums are float32 within a block
// of pixels and per block after it, which keeps the error of long sums near rounding.
void pointwiseWeightGrad(float* dw, const ConvGradTerm* terms, int nTerms, float scale, const ConvShape& s) {
  const int total = s.batch * s.height * s.width;
  const int outBands = tilesOf(s.out, kBandColumns);
  const int inBands = least(tilesOf(s.in, kTileRows), most(tilesOf(s.in, kBandRows), tilesOf(kLeastBands, outBands)));
  parallelFor(inBands * outBands, [&](int piece) {
    const int in = piece / outBands, firstIn = s.in * in / inBands, lastIn = s.in * (in + 1) / inBands;
    const int firstOut = piece % outBands * kBandColumns, lastOut = least(s.out, firstOut + kBandColumns);
    float* tail = scratch(0, size_t(kBlockPixels) * kTileColumns);
    for (int t = 0; t < nTerms; ++t)
      for (int p = 0; p < total; p += kBlockPixels) {
        const int pixels = least(kBlockPixels, total - p);
        const float* x = terms[t].x + size_t(p) * s.in;
        for (int o = firstOut; o < lastOut; o += kTileColumns) {
          const int columns = least(kTileColumns, s.out - o);
          const float* dy = terms[t].dy + size_t(p) * s.out + o;
          size_t stride = s.out;
          if (columns < kTileColumns) {
            for (int k = 0; k < pixels; ++k) {
              memset(tail + k * kTileColumns, 0, kTileColumns * sizeof(float));
              memcpy(tail + k * kTileColumns, dy + k * stride, columns * sizeof(float));
            }
            dy = tail;
            stride = kTileColumns;
          }
          forTileRows(lastIn - firstIn, [&](auto rows, int row) {
            constexpr int R = decltype(rows)::kCount;
            Tile<R> tile;
            clear(tile);
            const float *from = x + firstIn + row, *b = dy;
            for (int k = 0; k < pixels; ++k, from += s.in, b += stride)
              rankOne(
                  tile, [&](int r) { return from[r]; }, b);
            addScaled(dw + size_t(firstIn + row) * s.out + o, s.out, scale, tile, columns);
          });
        }
      }
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
