// Convolution and its data gradient, which is the same product with flipped taps and the channels exchanged.
//
// Implicit product without im2col: a tile is kTileRows pixels times kTileColumns output channels. For each tap every
// pixel has a pointer to its neighbour's channels (to zeros outside the image), and the inner loop over input channels
// broadcasts one value of each pixel against a row of the packed weights. A piece of work is a group of tiles: each
// weight panel is used for all of them while it is in the first cache levels.
#include "conv_tile.h"

namespace feynkac {
namespace FEYNKAC_ISA {
namespace {

constexpr int kGroup = 8;  // tiles of pixels per piece of work
constexpr int kMaxTaps = 9;

// One direction of a convolution: panels [out tile][tap, in][kTileColumns].
struct Direction {
  const float* panels;
  int in, out;
};

struct Epilogue {
  const float* bias;  // [out] or null
  const float* add;   // like y or null
  float scale, addScale;
};

size_t panelFloats(int taps, int in, int out) { return size_t(taps) * in * tilesOf(out, kTileColumns) * kTileColumns; }

// The pixels of one tile: pointers[tap * kTileRows + row]
void gather(const float** pointers, const float* x, const float* zeros, int firstPixel, int channels,
            const ConvShape& s) {
  const int pad = (s.kernel - 1) / 2, total = s.batch * s.height * s.width;
  for (int r = 0; r < kTileRows; ++r) {
    const int p = firstPixel + r, column = p % s.width, row = p / s.width % s.height;
    for (int t = 0; t < s.kernel * s.kernel; ++t) {
      const int dy = t / s.kernel - pad, dx = t % s.kernel - pad;
      const bool inside =
          p < total && row + dy >= 0 && row + dy < s.height && column + dx >= 0 && column + dx < s.width;
      pointers[t * kTileRows + r] = inside ? x + (ptrdiff_t(p) + dy * s.width + dx) * channels : zeros;
    }
  }
}

// y = scale (product + bias) + addScale add
void apply(float* y, const float* x, const Direction& d, const Epilogue& e, const ConvShape& s) {
  const int taps = s.kernel * s.kernel, total = s.batch * s.height * s.width, tiles = tilesOf(total, kTileRows);
  parallelFor(tilesOf(tiles, kGroup), [&](int group) {
    float* zeros = scratch(0, d.in);
    memset(zeros, 0, d.in * sizeof(float));
    const float* pointers[kGroup][kMaxTaps * kTileRows];
    const int first = group * kGroup, count = tiles - first < kGroup ? tiles - first : kGroup;
    for (int i = 0; i < count; ++i) gather(pointers[i], x, zeros, (first + i) * kTileRows, d.in, s);

    for (int o = 0; o < d.out; o += kTileColumns) {
      const int columns = d.out - o < kTileColumns ? d.out - o : kTileColumns;
      for (int i = 0; i < count; ++i) {
        Tile tile;
        Tile::clear(tile);
        const float* panel = d.panels + size_t(o) * taps * d.in;
        for (int t = 0; t < taps; ++t) {
          const float* const* pixel = pointers[i] + t * kTileRows;
          for (int k = 0; k < d.in; ++k, panel += kTileColumns)
            rankOne(
                tile, [&](int r) { return pixel[r][k]; }, panel);
        }
        const int pixel = (first + i) * kTileRows, rows = total - pixel < kTileRows ? total - pixel : kTileRows;
        for (int r = 0; r < rows; ++r) {
          const size_t at = size_t(pixel + r) * d.out + o;
          columnsOf(columns, [&](int lane, int n) {
            vf v = tile.c[r][lane / kLanes];
            if (e.bias) v += loadSome(e.bias + o + lane, n);
            v *= e.scale;
            if (e.add) v += e.addScale * loadSome(e.add + at + lane, n);
            storeSome(y + at + lane, v, n);
          });
        }
      }
    }
  });
}

}  // namespace

size_t CpuKernels::convPackedBytes(int kernel, int in, int out) {
  const int taps = kernel * kernel;
  return (panelFloats(taps, in, out) + panelFloats(taps, out, in)) * sizeof(float);
}

void CpuKernels::convPack(void* packed, const float* w, int kernel, int in, int out) {
  const int taps = kernel * kernel;
  float* forward = static_cast<float*>(packed);
  float* backward = forward + panelFloats(taps, in, out);
  parallelFor(tilesOf(out, kTileColumns), [&](int tile) {
    const int o = tile * kTileColumns, n = out - o < kTileColumns ? out - o : kTileColumns;
    float* to = forward + size_t(o) * taps * in;
    for (int k = 0; k < taps * in; ++k, to += kTileColumns) {
      memset(to, 0, kTileColumns * sizeof(float));
      memcpy(to, w + size_t(k) * out + o, n * sizeof(float));
    }
  });
  parallelFor(tilesOf(in, kTileColumns), [&](int tile) {
    const int i = tile * kTileColumns, n = in - i < kTileColumns ? in - i : kTileColumns;
    float* to = backward + size_t(i) * taps * out;
    for (int t = taps - 1; t >= 0; --t)  // the transpose looks from the output back: taps reversed
      for (int o = 0; o < out; ++o, to += kTileColumns) {
        memset(to, 0, kTileColumns * sizeof(float));
        for (int j = 0; j < n; ++j) to[j] = w[(size_t(t) * in + i + j) * out + o];
      }
  });
}

void CpuKernels::conv(float* y, const float* x, const void* packed, const float* bias, const float* residual,
                      float scale, const ConvShape& s) {
  apply(y, x, {static_cast<const float*>(packed), s.in, s.out}, {bias, residual, scale, scale}, s);
}

void CpuKernels::convDataGrad(float* dx, const float* dy, const void* packed, float scale, bool accumulate,
                              const ConvShape& s) {
  const float* backward = static_cast<const float*>(packed) + panelFloats(s.kernel * s.kernel, s.in, s.out);
  apply(dx, dy, {backward, s.out, s.in}, {nullptr, accumulate ? dx : nullptr, scale, 1.0f}, s);
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
