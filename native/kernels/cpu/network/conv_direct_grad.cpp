// Gradients of a convolution's weights and bias.
//
// dw[tap, i, o] = sum over pixels of x[pixel + tap, i] dy[pixel, o]. A piece of work owns a tap and a band of input
// channels, and sums all pixels in one order, so that the result does not depend on the threads. Pixels go in blocks of
// a few image rows; of a block, the band's x and one tile of dy columns at a time are packed, so that the inner loop
// reads two streams from the first cache level. Borders only shorten the rows. Sums are float32 within a block and per
// block after it, which keeps the error of long sums near rounding.
#include "conv_parts.h"

namespace feynkac {
namespace FEYNKAC_ISA {
namespace {

constexpr int kBlockPixels = 256;

// What a piece owns of dw.
struct Part {
  int tap, firstIn, lastIn;
};

// The rows and columns of dy whose neighbour at a tap lies inside the image.
struct Window {
  int dy, dx, y0, y1, x0, x1;
  Window(int tap, const ConvShape& s) {
    const int pad = (s.kernel - 1) / 2;
    dy = tap / s.kernel - pad;
    dx = tap % s.kernel - pad;
    y0 = dy < 0 ? -dy : 0;
    y1 = s.height - (dy > 0 ? dy : 0);
    x0 = dx < 0 ? -dx : 0;
    x1 = s.width - (dx > 0 ? dx : 0);
  }
  int rows() const { return y1 > y0 ? y1 - y0 : 0; }
};

// A block: image rows [first, last) of the window, over all images.
struct Block {
  const ConvShape& s;
  const Window& w;
  int first, last;
  int run() const { return w.x1 - w.x0; }
  int pixels() const { return (last - first) * run(); }
  ptrdiff_t start(int row) const {
    return (ptrdiff_t(row / w.rows()) * s.height + w.y0 + row % w.rows()) * s.width + w.x0;
  }
};

// to[pixel][kTileColumns] = dy[pixel][out ..], zeros after the last channel
void packOutputs(float* to, const float* dy, const Block& block, int out, int n) {
  const int stride = block.s.out;
  for (int row = block.first; row < block.last; ++row) {
    const float* from = dy + block.start(row) * stride + out;
    for (int k = 0; k < block.run(); ++k, to += kTileColumns, from += stride) {
      if (n == kTileColumns) {
        store(to, load(from));
        store(to + kLanes, load(from + kLanes));
      } else {
        memset(to, 0, kTileColumns * sizeof(float));
        memcpy(to, from, n * sizeof(float));
      }
    }
  }
}

// to[input tile][pixel][kTileRows] = x at the tap, zeros after the last channel
void packInputs(float* to, const float* x, const Block& block, const Part& part) {
  const int stride = block.s.in;
  for (int i = part.firstIn; i < part.lastIn; i += kTileRows) {
    const int n = part.lastIn - i < kTileRows ? part.lastIn - i : kTileRows;
    for (int row = block.first; row < block.last; ++row) {
      const float* from = x + (block.start(row) + block.w.dy * block.s.width + block.w.dx) * stride + i;
      for (int k = 0; k < block.run(); ++k, to += kTileRows, from += stride)
        if (n == kTileRows)
          memcpy(to, from, kTileRows * sizeof(float));
        else
          for (int r = 0; r < kTileRows; ++r) to[r] = r < n ? from[r] : 0.0f;
    }
  }
}

void addBlock(float* dw, const ConvGradTerm& term, float scale, const Part& part, const Block& block, float* inputs,
              float* outputs) {
  const ConvShape& s = block.s;
  const int pixels = block.pixels();
  packInputs(inputs, term.x, block, part);
  for (int o = 0; o < s.out; o += kTileColumns) {
    const int columns = s.out - o < kTileColumns ? s.out - o : kTileColumns;
    packOutputs(outputs, term.dy, block, o, columns);
    const float* a = inputs;
    for (int i = part.firstIn; i < part.lastIn; i += kTileRows) {
      const int rows = part.lastIn - i < kTileRows ? part.lastIn - i : kTileRows;
      Tile<kTileRows> tile;
      clear(tile);
      const float* b = outputs;
      for (int k = 0; k < pixels; ++k, a += kTileRows, b += kTileColumns)
        rankOne(
            tile, [&](int r) { return a[r]; }, b);
      float sums[kTileRows * kTileColumns];  // a tile that is indexed at run time leaves the registers (Clang)
      storeTile(sums, kTileColumns, tile);
      for (int r = 0; r < rows; ++r) {
        float* to = dw + (size_t(part.tap) * s.in + i + r) * s.out + o;
        columnsOf(columns, [&](int lane, int n) {
          storeSome(to + lane, plusScaled(loadSome(to + lane, n), scale, load(sums + r * kTileColumns + lane)), n);
        });
      }
    }
  }
}

}  // namespace

void directWeightGrad(float* dw, const ConvGradTerm* terms, int nTerms, float scale, const ConvShape& s) {
  const int tiles = tilesOf(s.in, kTileRows), bands = tilesOf(tiles, 8);  // wide ones: each packs dy
  const int band = tilesOf(tiles, bands) * kTileRows;
  const int blockRows = most(1, kBlockPixels / s.width);
  parallelFor(9 * bands, [&](int piece) {
    const int first = piece % bands * band;
    const Part part = {piece / bands, first, least(first + band, s.in)};
    if (part.firstIn >= part.lastIn) return;
    const Window window(part.tap, s);
    if (window.rows() == 0 || window.x1 <= window.x0) return;
    float* inputs = scratch(0, size_t(blockRows) * s.width * band);
    float* outputs = scratch(1, size_t(blockRows) * s.width * kTileColumns);
    const int rows = s.batch * window.rows();
    for (int t = 0; t < nTerms; ++t)
      for (int row = 0; row < rows; row += blockRows)
        addBlock(dw, terms[t], scale, part, {s, window, row, least(row + blockRows, rows)}, inputs, outputs);
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
