// 3 x 3 convolution by Winograd's algorithm (winograd.h).
//
// A piece of work is a block of tiles, all input channels, and a range of panels of output channels:
//   V = B^T d B for all tiles of the block   [frequency][vector of in][tile][kLanes]
//   for each panel:  M_f = V_f U_f           [frequency][tile][kTileColumns]
//                    y = A^T M A and the epilogue
// The block is so small that V and M stay in the caches. Between frequencies lies one vector more than needed: without it
// they would lie powers of two apart and share the same few lines of the caches.
#include "conv_parts.h"
#include "winograd.h"

namespace feynkac {
namespace FEYNKAC_ISA {

using namespace winograd;

namespace {

constexpr int kPieces = 2;                         // of a thread, wanted
constexpr int kManyBlocks = 8;                     // of a thread
constexpr size_t kLargeLayer = size_t(256) * 256;  // in out, from which on weights may be transformed by block
constexpr int kFewTiles = 16;           // that are one block: at kLargeLayer it transforms them, beyond it any does
constexpr size_t kBlockBytes = 230000;  // of V, where they are transformed once
constexpr size_t kLargeBlockBytes = 4 << 20;  // of V, where each block does it
constexpr int kLeastPanels = 4;               // of a range: V is made for each

// Whether each block transforms the weights for itself, a chunk at a time that stays in the second-level cache, instead of once for
// all of them, in memory that no cache of one core holds.
bool transformsByBlock(const Tiles& all, const ConvShape& s) {
  const size_t size = size_t(s.in) * s.out;
  return size > kLargeLayer || (size == kLargeLayer && all.count <= kFewTiles);
}

// How the work is cut: blocks of tiles, in units of a register tile's rows, and ranges of panels. Sums do not depend on it, so it may
// depend on the threads.
struct Blocking {
  int count, units, blocks, ranges;

  Blocking(const Tiles& all, const ConvShape& s, bool large) : count(all.count), units(tilesOf(all.count, kTileRows)) {
    const int threads = threadCount();
    const size_t bytes = sizeof(float) * kFrequencies * roundUp(s.in, kLanes) * kTileRows;
    const int fit = tilesOf(large ? kLargeBlockBytes : kBlockBytes, bytes);
    const int fair = most(large ? 4 : 1, tilesOf(units, kPieces * threads));
    blocks = tilesOf(units, least(fit, fair));
    if (blocks > 1 && blocks < kManyBlocks * threads)  // the last ones would leave other threads alone
      blocks = least(units, roundUp(blocks, threads));
    ranges = most(1, least(tilesOf(s.out, kTileColumns) / kLeastPanels, tilesOf(threads, blocks)));
  }
  Range block(int i) const {
    const Range part = partOf(units, blocks, i);
    const int first = part.first * kTileRows;
    return {first, least(part.count * kTileRows, count - first)};
  }
};

// How many panels and input channels are transformed at a time. Weights come from memory, in pieces as long as can be: rows of
// outputs or, transposed, of inputs.
struct Chunk {
  int panels, channels;
};
Chunk chunkOf(const WeightView& w) { return w.transposed ? Chunk{1, 128} : Chunk{4, 32}; }

enum class Sum { kNew, kGoesOn, kAdded };

// M_f (+)= V_f U_f over `channels`, vectors of which lie `stride` apart, of `times` R tiles. A function of its own: what the loops around
// it keep would take registers from the tile.
template <int R>
__attribute__((noinline)) void productsOf(float* to, const float* from, size_t stride, const float* weights,
                                          int channels, Sum sum, int times) {
  for (; times > 0; --times, to += R * kTileColumns, from += R * kLanes) {
    Tile<R> tile;
    clear(tile);
    if (sum == Sum::kGoesOn) addTile(tile, to, kTileColumns);
    const float *v = from, *u = weights;
    for (int k = channels; k > 0; k -= kLanes, v += stride, u += kLanes * kTileColumns)
      rankAlong(
          tile, [&](int r) { return v + r * kLanes; }, u, least(kLanes, k));
    if (sum == Sum::kAdded) addTile(tile, to, kTileColumns);
    storeTile(to, kTileColumns, tile);
  }
}

struct Block {
  const ConvShape& s;
  const Tiles& all;
  int first, count;  // of the tiles
  size_t vectorStride, vStride, mStride;
  float *v, *m;
  Tiles::Place* places;  // of the tiles and of one after them

  Block(const ConvShape& shape, const Tiles& tiles, int first, int count, int panels)
      : s(shape), all(tiles), first(first), count(count) {
    vectorStride = size_t(count) * kLanes;
    vStride = vectorStride * tilesOf(s.in, kLanes) + kLanes;
    mStride = size_t(count) * kTileColumns + kLanes;
    v = scratch(0, kFrequencies * vStride + (count + 1) * sizeof(Tiles::Place) / sizeof(float));
    m = scratch(1, panels * kFrequencies * mStride);
    places = reinterpret_cast<Tiles::Place*>(v + kFrequencies * vStride);
    for (int i = 0; i <= count; ++i) places[i] = all.at(least(first + i, all.count - 1));
  }

  void transformInput(const float* x) const {
    float* zeros = scratch(2, s.in);
    memset(zeros, 0, s.in * sizeof(float));
    Patch<kPatch> patches[2];
    patches[0].around(x, zeros, s.in, s, places[0]);
    for (int i = 0; i < count; ++i) {
      const Patch<kPatch>& patch = patches[i % 2];
      Patch<kPatch>& next = patches[(i + 1) % 2];
      next.around(x, zeros, s.in, s, places[i + 1]);
      for (int c = 0; c < s.in; c += kLanes) {
        for (int row = 0; row < kPatch; ++row)
          for (int column = kPatch - kTile; column < kPatch; ++column) __builtin_prefetch(next.at[row][column] + c);
        float* to = v + c / kLanes * vectorStride + size_t(i) * kLanes;
        const int n = least(kLanes, s.in - c);
        if (n == kLanes)
          inputTile(
              to, vStride, [&](int i, int j) __attribute__((always_inline)) { return load(patch.at[i][j] + c); });
        else
          inputTile(
              to,
              vStride, [&](int i, int j) __attribute__((always_inline)) { return loadTail(patch.at[i][j] + c, n); });
      }
    }
  }

  // M of a panel (+)= V U over the input channels k0 .. k1, U from k0 on with frequencies uStride apart. goesOn: in one sum with those
  // before k0, with the bits of all at once; otherwise the chunk has a sum of its own, whose error is smaller.
  void multiply(int panel, const float* u, size_t uStride, int k0, int k1, bool goesOn) const {
    const Sum sum = k0 == 0 ? Sum::kNew : goesOn ? Sum::kGoesOn : Sum::kAdded;
    for (int f = 0; f < kFrequencies; ++f) {
      const Range tiles = all.having(f, first, count);
      if (tiles.count == 0) continue;
      float* to = m + (panel * kFrequencies + f) * mStride + size_t(tiles.first - first) * kTileColumns;
      const float* from = v + f * vStride + k0 / kLanes * vectorStride + size_t(tiles.first - first) * kLanes;
      const int each = tilesOf(tiles.count, tilesOf(tiles.count, kTileRows)), whole = tiles.count / each;
      const auto products = [&](int n, int row, int times) {
        withRows(n, [&](auto rows) {
          productsOf<decltype(rows)::kCount>(to + size_t(row) * kTileColumns, from + size_t(row) * kLanes, vectorStride,
                                             u + f * uStride, k1 - k0, sum, times);
        });
      };
      products(each, 0, whole);
      if (tiles.count > whole * each) products(tiles.count - whole * each, whole * each, 1);
    }
  }

  // y of a panel's outputs, from o on
  void finish(float* y, const Epilogue& e, int panel, int o) const {
    for (int c = 0; c < kTileColumns && o + c < s.out; c += kLanes)
      finish(y, e, m + panel * kFrequencies * mStride + c, o + c);
  }

 private:
  void finish(float* y, const Epilogue& e, const float* sums, int o) const {
    const int n = least(kLanes, s.out - o);
    for (int i = 0; i < count; ++i) {
      const auto pixel = [&](const Tiles::Place& p) {
        return ((size_t(p.image) * s.height + p.y) * s.width + p.x) * s.out + o;
      };
      const size_t line = size_t(s.width) * s.out;
      const float* ahead = y + pixel(places[i + 1]);
      for (int row = 0; row < kTile; ++row)
        for (int k = 0; k < kTile; ++k) __builtin_prefetch(ahead + row * line + size_t(k) * s.out, 1);

      vf out[kTile][kTile];
      const float* from = sums + size_t(i) * kTileColumns;
      outputTile(
          out, [&](int row, int k)
                   __attribute__((always_inline)) { return load(from + (row * kPatch + k) * mStride); });
      const Tiles::Place& place = places[i];
      const size_t at = pixel(place);
#pragma GCC unroll 4
      for (int row = 0; row < kTile; ++row)
#pragma GCC unroll 4
        for (int k = 0; k < kTile; ++k)
          if (row < place.height && k < place.width)
            e.finish(y, at + row * line + size_t(k) * s.out, out[row][k], o, n);
    }
  }
};

// u[frequency][kLanes] = G g G^T of g[tap][kLanes]
FEYNKAC_INLINE void transformTaps(float* u, size_t stride, const float* taps, size_t tapStride) {
  vf rows[3][kPatch];
#pragma GCC unroll 3
  for (int j = 0; j < 3; ++j) {
    vf g[3], h[kPatch];
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i) g[i] = load(taps + (3 * i + j) * tapStride);
    weightRow(h, g);
#pragma GCC unroll 6
    for (int i = 0; i < kPatch; ++i) rows[j][i] = h[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < kPatch; ++i) {
    const vf g[3] = {rows[0][i], rows[1][i], rows[2][i]};
    vf h[kPatch];
    weightRow(h, g);
#pragma GCC unroll 6
    for (int j = 0; j < kPatch; ++j) store(u + (i * kPatch + j) * stride, h[j]);
  }
}

// u[panel][frequency][k][kTileColumns], frequencies `stride` apart = G g G^T of the taps from input channels first + k, k < count,
// to the outputs of `panels` panels from output o on
void transformWeights(float* u, size_t stride, const WeightView& w, int o, int panels, int first, int count) {
  const int width = panels * kTileColumns;
  float* copy = scratch(2, size_t(9) * count * width);
  packTaps(copy, w, first, count, o, width);
  for (int p = 0; p < panels; ++p, u += kFrequencies * stride)
    for (int k = 0; k < count; ++k)
      for (int c = 0; c < kTileColumns; c += kLanes)
        transformTaps(u + size_t(k) * kTileColumns + c, stride, copy + size_t(k) * width + p * kTileColumns + c,
                      size_t(count) * width);
}

}  // namespace

void winogradConv(float* y, const float* x, const WeightView& w, const Epilogue& e, const ConvShape& s) {
  const int panels = tilesOf(s.out, kTileColumns);
  const Tiles all(s);
  const bool large = transformsByBlock(all, s),
             goesOn = size_t(s.in) * s.out <= kLargeLayer;  // bits depend on the layer alone
  const Blocking blocking(all, s, large);
  const Chunk chunk = chunkOf(w);
  // the last row of a frequency is unused: without it, they would lie powers of two apart
  const size_t stride = panelFloats(1, (large ? least(chunk.channels, s.in) : s.in) + 1), each = kFrequencies * stride;
  float* shared = large ? nullptr : scratch(3, panels * each);
  if (!large) {
    const int groups = tilesOf(panels, chunk.panels);
    parallelFor(groups * tilesOf(s.in, chunk.channels), [&](int piece) {
      const int p = piece % groups * chunk.panels, k = piece / groups * chunk.channels;
      transformWeights(shared + p * each + panelFloats(1, k), stride, w, p * kTileColumns,
                       least(chunk.panels, panels - p), k, least(chunk.channels, s.in - k));
    });
  }
  parallelFor(blocking.blocks * blocking.ranges, [&](int piece) {
    const Range tiles = blocking.block(piece / blocking.ranges);
    const int range = piece % blocking.ranges;
    const Block block(s, all, tiles.first, tiles.count, large ? chunk.panels : 1);
    block.transformInput(x);
    const int end = panels * (range + 1) / blocking.ranges;
    for (int p = panels * range / blocking.ranges, n; p < end; p += n) {
      n = large ? least(chunk.panels, end - p) : 1;
      if (!large) block.multiply(0, shared + p * each, stride, 0, s.in, true);
      for (int k = 0; large && k < s.in; k += chunk.channels) {
        const int count = least(chunk.channels, s.in - k);
        float* u = scratch(3, chunk.panels * each);
        transformWeights(u, stride, w, p * kTileColumns, n, k, count);
        for (int i = 0; i < n; ++i) block.multiply(i, u + i * each, stride, k, k + count, goesOn);
      }
      for (int i = 0; i < n; ++i) block.finish(y, e, i, (p + i) * kTileColumns);
    }
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
