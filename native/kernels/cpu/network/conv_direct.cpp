// 3 x 3 convolution as it is written down, for the channels that no other algorithm takes.
//
// A tile is kTileRows pixels times kTileColumns output channels. For each tap every pixel has a pointer to its neighbour's
// channels (to zeros outside the image), and the inner loop over input channels broadcasts one value of each pixel against
// a row of the packed weights. A piece of work is a group of tiles: each panel of weights is used for all of them while it
// is in the first cache levels.
#include "conv_parts.h"

namespace feynkac {
namespace FEYNKAC_ISA {
namespace {

constexpr int kGroup = 8;  // tiles of pixels per piece of work
constexpr int kTaps = 9;

// The pixels of one tile: pointers[tap * kTileRows + row]
void gather(const float** pointers, const float* x, const float* zeros, int firstPixel, const ConvShape& s) {
  const int total = s.batch * s.height * s.width;
  for (int r = 0; r < kTileRows; ++r) {
    const int p = firstPixel + r, column = p % s.width, row = p / s.width % s.height;
    for (int t = 0; t < kTaps; ++t) {
      const int dy = t / 3 - 1, dx = t % 3 - 1;
      const bool inside =
          p < total && row + dy >= 0 && row + dy < s.height && column + dx >= 0 && column + dx < s.width;
      pointers[t * kTileRows + r] = inside ? x + (ptrdiff_t(p) + dy * s.width + dx) * s.in : zeros;
    }
  }
}

}  // namespace

void directConv(float* y, const float* x, const float* packed, const Epilogue& e, const ConvShape& s) {
  const int total = s.batch * s.height * s.width, tiles = tilesOf(total, kTileRows);
  parallelFor(tilesOf(tiles, kGroup), [&](int group) {
    float* zeros = scratch(0, s.in);
    memset(zeros, 0, s.in * sizeof(float));
    const float* pointers[kGroup][kTaps * kTileRows];
    const int first = group * kGroup, count = least(kGroup, tiles - first);
    for (int i = 0; i < count; ++i) gather(pointers[i], x, zeros, (first + i) * kTileRows, s);

    for (int o = 0; o < s.out; o += kTileColumns)
      for (int i = 0; i < count; ++i) {
        Tile<kTileRows> tile;
        clear(tile);
        const float* panel = packed + size_t(o) * kTaps * s.in;
        for (int t = 0; t < kTaps; ++t) {
          const float* const* pixel = pointers[i] + t * kTileRows;
          rankAlong(
              tile, [&](int r) { return pixel[r]; }, panel + size_t(t) * s.in * kTileColumns, s.in);
        }
        float sums[kTileRows * kTileColumns];  // a tile that is indexed at run time leaves the registers (Clang)
        storeTile(sums, kTileColumns, tile);
        const int pixel = (first + i) * kTileRows;
        for (int r = 0; r < least(kTileRows, total - pixel); ++r)
          columnsOf(least(kTileColumns, s.out - o), [&](int lane, int n) {
            e.finish(y, size_t(pixel + r) * s.out + o + lane, load(sums + r * kTileColumns + lane), o + lane, n);
          });
      }
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
