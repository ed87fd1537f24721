// Weight gradient of a 3 x 3 convolution by Winograd's algorithm, the adjoint of its forward pass (winograd.h):
//
//   dU_f = sum over tiles of (B^T d B)_f (outer) (A dy A^T)_f,   dw += scale G^T dU G
//
// The weights fall into squares, a band of input times a band of output channels. Where there are enough of them, a square is a
// piece of work, and its dU stays in the second-level cache. Otherwise the pieces of a square are the pairs of rows of
// frequencies, of ranges of the tiles; what splits the work follows from the shape alone, so the bits do not depend on the
// threads. A piece goes through its tiles in order, a chunk at a time whose transforms fit the second-level cache. Sums are
// float32 within a chunk and per chunk after it, which keeps the error of long sums near rounding.
#include "conv_parts.h"
#include "winograd.h"

namespace feynkac {
namespace FEYNKAC_ISA {

using namespace winograd;

namespace {

constexpr int kBand = 64;               // channels
constexpr int kPieces = 12;             // wanted
constexpr int kLeastTiles = 64;         // of a range
constexpr size_t kChunkBytes = 400000;  // of transforms
constexpr int kPairFrequencies = 2 * kPatch;

// The i-th of `parts` about equal parts of 0 .. n, in whole `unit`s
Range part(int n, int unit, int parts, int i) {
  const int units = tilesOf(n, unit);
  const int first = least(n, units * i / parts * unit), last = least(n, units * (i + 1) / parts * unit);
  return {first, last - first};
}

// to[frequency][channel of the band] of one tile and pair; the pixels of the next tile are asked for
template <int Pair>
void transformInput(float* to, size_t stride, const Patch<kPatch>& patch, const Patch<kPatch>& next,
                    const Range& band) {
  for (int c = 0; c < band.count; c += kLanes) {
    const int n = least(kLanes, band.count - c), from = band.first + c;
    for (int row = 0; row < kPatch; ++row)
      for (int column = kPatch - kTile; column < kPatch; ++column) __builtin_prefetch(next.at[row][column] + from);
    inputPair<Pair>(
        to + c, kPatch * stride,
        stride, [&](int i, int j) __attribute__((always_inline)) { return loadSome(patch.at[i][j] + from, n); });
  }
}

template <int Pair>
void transformOutput(float* to, size_t stride, const Patch<kTile>& patch, const Patch<kTile>& next, const Range& band) {
  for (int c = 0; c < roundUp(band.count, kTileColumns); c += kLanes) {
    const int n = least(kLanes, band.count - c), from = band.first + c;
    if (n > 0) {
      for (int row = 0; row < kTile; ++row)
        for (int column = 0; column < kTile; ++column) __builtin_prefetch(next.at[row][column] + from);
      outputAdjointPair<Pair>(
          to + c, kPatch * stride,
          stride, [&](int i, int j) __attribute__((always_inline)) { return loadSome(patch.at[i][j] + from, n); });
    } else {
      for (int f = 0; f < kPairFrequencies; ++f) store(to + f * stride + c, vf{});
    }
  }
}

// du[i][o] (+)= sum over tiles of x[tile][i] y[tile][o]
void addProducts(float* du, size_t width, const float* x, int xWidth, int in, const float* y, int yWidth, int tiles,
                 bool add) {
  for (int o = 0; o < yWidth; o += kTileColumns)
    forTileRows(in, [&](auto rows, int row) {
      constexpr int R = decltype(rows)::kCount;
      Tile<R> tile;
      clear(tile);
      const float *a = x + row, *b = y + o;
      for (int k = 0; k < tiles; ++k, a += xWidth, b += yWidth)
        rankOne(
            tile, [&](int r) { return a[r]; }, b);
      float* to = du + size_t(row) * width + o;
      if (add) addTile(tile, to, width);
      storeTile(to, width, tile);
    });
}

// A band of input times a band of output channels, and its dU: [range of tiles][frequency][in][out to whole tiles]
struct Square {
  Range in, out;
  float* du;
  int width;         // of a row
  size_t frequency;  // floats of one, and a vector more: not a power of two

  Square(const ConvShape& s, int index, float* du) : du(du) {
    const int inBands = tilesOf(s.in, kBand), outBands = tilesOf(s.out, kBand);
    in = part(s.in, kLanes, inBands, index / outBands);
    out = part(s.out, kTileColumns, outBands, index % outBands);
    width = roundUp(out.count, kTileColumns);
    frequency = size_t(in.count) * width + kLanes;
  }
  static constexpr size_t kFloats = kFrequencies * (kBand * kBand + kLanes);  // at most, of a range of tiles
};

template <int Pair>
void sumPair(const Square& square, int range, const Range& tiles, const ConvGradTerm* terms, int nTerms,
             const ConvShape& s) {
  const Tiles all(s);
  const Range &in = square.in, &out = square.out;
  const int xWidth = roundUp(in.count, kLanes), yWidth = square.width;
  const int fit = most(8, kChunkBytes / (sizeof(float) * kPairFrequencies * (xWidth + yWidth)));
  const int chunk = tilesOf(tiles.count, tilesOf(tiles.count, fit));
  const size_t xStride = size_t(chunk) * xWidth + kLanes, yStride = size_t(chunk) * yWidth + kLanes;
  float* x = scratch(0, kPairFrequencies * xStride);
  float* y = scratch(1, kPairFrequencies * yStride);
  float* zeros = scratch(2, most(s.in, s.out));
  memset(zeros, 0, most(s.in, s.out) * sizeof(float));
  for (int t = 0; t < nTerms; ++t)
    for (int first = 0; first < tiles.count; first += chunk) {
      const int count = least(chunk, tiles.count - first);
      Patch<kPatch> patches[2];
      Patch<kTile> outputs[2];
      const auto look = [&](int i) {
        const Tiles::Place place = all.at(tiles.first + first + least(i, count - 1));
        patches[i % 2].around(terms[t].x, zeros, s.in, s, place);
        outputs[i % 2].set(terms[t].dy, zeros, s.out, s, place);
      };
      look(0);
      for (int i = 0; i < count; ++i) {
        look(i + 1);
        transformInput<Pair>(x + size_t(i) * xWidth, xStride, patches[i % 2], patches[(i + 1) % 2], in);
        transformOutput<Pair>(y + size_t(i) * yWidth, yStride, outputs[i % 2], outputs[(i + 1) % 2], out);
      }
      for (int f = 0; f < kPairFrequencies; ++f) {
        const int frequency = kPairRows[Pair][f / kPatch] * kPatch + f % kPatch;
        const Range having = all.having(frequency, tiles.first + first, count);
        const size_t skipped = having.first - tiles.first - first;
        const bool add = t > 0 || first > 0;
        if (add && having.count == 0) continue;
        addProducts(square.du + (range * kFrequencies + frequency) * square.frequency, yWidth,
                    x + f * xStride + skipped * xWidth, xWidth, in.count, y + f * yStride + skipped * yWidth, yWidth,
                    having.count, add);
      }
    }
}

// dw[tap][in][out] += scale G^T dU G for row `row` of the square; dU is the sum over ranges of tiles
void addTaps(float* dw, const Square& square, int ranges, int row, float scale, const ConvShape& s) {
  for (int o = 0; o < square.out.count; o += kLanes) {
    const float* from = square.du + size_t(row) * square.width + o;
    vf columns[3][kPatch];
#pragma GCC unroll 6
    for (int j = 0; j < kPatch; ++j) {
      vf u[kPatch], g[3];
#pragma GCC unroll 6
      for (int i = 0; i < kPatch; ++i) {
        u[i] = load(from + (i * kPatch + j) * square.frequency);
        for (int r = 1; r < ranges; ++r) u[i] += load(from + (r * kFrequencies + i * kPatch + j) * square.frequency);
      }
      weightAdjointRow(g, u);
#pragma GCC unroll 3
      for (int i = 0; i < 3; ++i) columns[i][j] = g[i];
    }
    const int n = least(kLanes, square.out.count - o);
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i) {
      vf g[3];
      weightAdjointRow(g, columns[i]);
#pragma GCC unroll 3
      for (int j = 0; j < 3; ++j) {
        float* to = dw + (size_t(i * 3 + j) * s.in + square.in.first + row) * s.out + square.out.first + o;
        storeSome(to, loadSome(to, n) + scale * g[j], n);
      }
    }
  }
}

}  // namespace

void winogradWeightGrad(float* dw, const ConvGradTerm* terms, int nTerms, float scale, const ConvShape& s) {
  const int tiles = Tiles(s).count, squares = tilesOf(s.in, kBand) * tilesOf(s.out, kBand);
  constexpr void (*kSum[kPairs])(const Square&, int, const Range&, const ConvGradTerm*, int, const ConvShape&) = {
      sumPair<0>, sumPair<1>, sumPair<2>};
  if (squares >= kPieces)
    return parallelFor(squares, [&](int index) {
      const Square square(s, index, scratch(3, Square::kFloats));
      for (const auto sum : kSum) sum(square, 0, {0, tiles}, terms, nTerms, s);
      for (int row = 0; row < square.in.count; ++row) addTaps(dw, square, 1, row, scale, s);
    });

  const int ranges = most(1, least(tilesOf(kPieces, kPairs * squares), tiles / kLeastTiles));
  float* du = scratch(3, Square::kFloats * ranges * squares);
  const auto squareOf = [&](int index) { return Square(s, index, du + Square::kFloats * ranges * index); };
  parallelFor(squares * ranges * kPairs, [&](int piece) {
    const int range = piece / kPairs % ranges;
    kSum[piece % kPairs](squareOf(piece / kPairs / ranges), range, part(tiles, 1, ranges, range), terms, nTerms, s);
  });
  parallelFor(squares * kBand, [&](int piece) {
    const Square square = squareOf(piece / kBand);
    if (piece % kBand < square.in.count) addTaps(dw, square, ranges, piece % kBand, scale, s);
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
