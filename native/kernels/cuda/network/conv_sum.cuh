// The sums over pixels that a weight gradient is, and their split over blocks: few outputs and long sums.
#pragma once

#include <algorithm>

#include "kernels/cuda/cuda_kernels.h"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

constexpr int kMaxTerms = 2;

struct Sum {
  ConvGradTerm terms[kMaxTerms];
  int nTerms;
  float* out;   // dw, or the parts [splits, taps, in, out]
  float scale;  // applied where `out` is dw; then the sum is added
  bool direct;
  int pixels, height, width, in, outChannels, kernel;
  int stepsPerTerm, stepsPerSplit;  // slices of the kernel's depth in pixels
};

// A block's share, from blockIdx.x: the tile of outputs within the tap, the tap, and the part of the steps.
struct Share {
  int firstRow, firstColumn, tap, part, begin, end;

  GPU_FN Share(const Sum& s, int rows, int columns) {
    const int columnTiles = (s.outChannels + columns - 1) / columns, rowTiles = (s.in + rows - 1) / rows;
    const int taps = s.kernel * s.kernel;
    int block = static_cast<int>(blockIdx.x);
    firstColumn = block % columnTiles * columns;
    block /= columnTiles;
    firstRow = block % rowTiles * rows;
    block /= rowTiles;
    tap = block % taps;
    part = block / taps;
    begin = part * s.stepsPerSplit;
    end = min(begin + s.stepsPerSplit, s.nTerms * s.stepsPerTerm);
  }

  // The sum of an output of the tile.
  GPU_FN void put(const Sum& s, int row, int column, float value) const {
    const int m = firstRow + row, n = firstColumn + column, taps = s.kernel * s.kernel;
    if (m >= s.in || n >= s.outChannels) return;
    float* out = s.out + (s.direct ? 0 : size_t(part) * taps * s.in * s.outChannels);
    float& to = out[(size_t(tap) * s.in + m) * s.outChannels + n];
    to = s.direct ? to + s.scale * value : value;
  }
};

constexpr int kPartsBlock = 256;

// dw[i] += scale sum over the splits of parts[split][i], in their order
__global__ void __launch_bounds__(kPartsBlock)
    addParts(float* dw, const float* parts, float scale, int splits, size_t n) {
  for (size_t i = size_t(blockIdx.x) * kPartsBlock + threadIdx.x; i < n; i += size_t(gridDim.x) * kPartsBlock) {
    float sum = 0;
    for (int k = 0; k < splits; ++k) sum += parts[k * n + i];
    dw[i] += scale * sum;
  }
}

constexpr int kEnoughBlocks = 4 * 132, kFewestSteps = 8;

// launch(sum, blocks) with tiles of rows x columns of each tap and steps of `depth` pixels.
template <class Launch>
void launchShares(Context& context, float* dw, Sum s, int rows, int columns, int depth, const Launch& launch) {
  s.stepsPerTerm = static_cast<int>(cover(s.pixels, depth));
  const int tiles = static_cast<int>(cover(s.in, rows) * cover(s.outChannels, columns)) * s.kernel * s.kernel;
  const int steps = s.nTerms * s.stepsPerTerm;
  const int wanted = std::max(1, std::min(kEnoughBlocks / tiles, steps / kFewestSteps));
  s.stepsPerSplit = static_cast<int>(cover(steps, wanted));
  const int splits = static_cast<int>(cover(steps, s.stepsPerSplit));
  const size_t n = size_t(s.kernel) * s.kernel * s.in * s.outChannels;
  s.direct = splits == 1;
  s.out = s.direct ? dw : context.scratch<float>(splits * n);
  launch(s, static_cast<unsigned>(tiles * splits));
  if (!s.direct)
    LAUNCH((addParts), blocksFor(n, kPartsBlock), kPartsBlock, 0, context.stream())(dw, s.out, s.scale, splits, n);
  launched("convWeightGrad");
}

// Whether channels are multiples of 4 and all images aligned.
inline bool inVectors(const ConvGradTerm* terms, int nTerms, const ConvShape& s) {
  bool vectors = s.in % 4 == 0 && s.out % 4 == 0;
  for (int i = 0; i < nTerms; ++i) vectors = vectors && aligned16(terms[i].x) && aligned16(terms[i].dy);
  return vectors;
}

// f(sum) for the terms, as many at a time as a sum has.
template <class F>
void forEachSum(const ConvGradTerm* terms, int nTerms, float scale, const ConvShape& s, const F& f) {
  for (int first = 0; first < nTerms; first += kMaxTerms) {
    Sum sum = {};
    sum.nTerms = std::min(nTerms - first, kMaxTerms);
    for (int i = 0; i < sum.nTerms; ++i) sum.terms[i] = terms[first + i];
    sum.scale = scale;
    sum.pixels = s.batch * s.height * s.width;
    sum.height = s.height;
    sum.width = s.width;
    sum.in = s.in;
    sum.outChannels = s.out;
    sum.kernel = s.kernel;
    f(sum);
  }
}

}  // namespace
}  // namespace FEYNKAC_PATH
}  // namespace feynkac
