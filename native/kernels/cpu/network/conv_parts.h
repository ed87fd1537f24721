// The algorithms of a convolution, and the rule by which each direction of a layer gets one.
//
// A direction is a convolution of its own: the data gradient has the channels exchanged and the taps reversed. Weights
// come as `packed`, arranged as its algorithm wants them.
#pragma once

#include "conv_tile.h"

namespace feynkac {
namespace FEYNKAC_ISA {

enum class ConvAlgorithm {
  kDirect,     // 9 products a pixel
  kPointwise,  // 1 x 1: a plain product of matrices
  kNarrow,     // at most kNarrow outputs: lanes along the inputs
  kWinograd,   // 2.25 products a pixel (winograd.h)
};

constexpr int kNarrow = 4;            // channels
constexpr int kLeastWinograd = 16;    // channels; fewer do not pay for the transforms
constexpr int kLeastTilesOfGrad = 8;  // for which transforming the weights' gradient pays

constexpr ConvAlgorithm convAlgorithm(int kernel, int in, int out) {
  if (kernel == 1) return ConvAlgorithm::kPointwise;
  if (out <= kNarrow && in >= kLanes) return ConvAlgorithm::kNarrow;
  if (in < kLeastWinograd || out < kLeastWinograd) return ConvAlgorithm::kDirect;
  return ConvAlgorithm::kWinograd;
}

// The same for the gradient of the weights: few channels may be on either side, and small images leave the tiles half empty.
inline ConvAlgorithm weightGradAlgorithm(const ConvShape& s) {
  const ConvAlgorithm forward = convAlgorithm(s.kernel, s.in, s.out), back = convAlgorithm(s.kernel, s.out, s.in);
  if (forward == ConvAlgorithm::kNarrow || back == ConvAlgorithm::kNarrow) return ConvAlgorithm::kNarrow;
  if (forward != ConvAlgorithm::kWinograd) return forward;
  const int tiles = tilesOf(s.height, 4) * tilesOf(s.width, 4);
  return s.batch * tiles >= kLeastTilesOfGrad && s.height * s.width >= 8 * tiles ? ConvAlgorithm::kWinograd
                                                                                 : ConvAlgorithm::kDirect;
}

// conv_pack.cpp: one direction's weights, packed
size_t packedFloats(int kernel, int in, int out);

// What an algorithm finds in `packed`:
//   kDirect, kPointwise: panels [out tile][tap, in][kTileColumns]
//   kNarrow: [tap][out][in to whole vectors]
//   kWinograd: where the master weights are. They are transformed at each use: a tenth of the time of their products at
//   8 x 8 and batch 16, more in smaller batches (bench/cpu.md). Kept, they would take four times the memory, for each direction.
FEYNKAC_INLINE size_t panelFloats(int taps, int in) { return size_t(taps) * in * kTileColumns; }

// One direction's view of the master weights: the transpose looks from the output back, channels exchanged and taps reversed.
struct WeightView {
  const float* w;
  int taps, in, out;  // of the direction
  bool transposed;

  size_t at(int tap, int i, int o) const {
    return transposed ? (size_t(taps - 1 - tap) * out + o) * in + i : (size_t(tap) * in + i) * out + o;
  }
};

void directConv(float* y, const float* x, const float* packed, const Epilogue& e, const ConvShape& s);
void pointwiseConv(float* y, const float* x, const float* packed, const Epilogue& e, const ConvShape& s);
void narrowConv(float* y, const float* x, const float* packed, const Epilogue& e, const ConvShape& s);
void winogradConv(float* y, const float* x, const WeightView& w, const Epilogue& e, const ConvShape& s);

// to[tap][k][width] = the taps from input channel first + k, k < count, to outputs o .. o + width, zeros after the last output;
// width is a multiple of kLanes
void packTaps(float* to, const WeightView& v, int first, int count, int o, int width);

// dw += scale sum over terms of x (outer) dy
void directWeightGrad(float* dw, const ConvGradTerm* terms, int nTerms, float scale, const ConvShape& s);
void pointwiseWeightGrad(float* dw, const ConvGradTerm* terms, int nTerms, float scale, const ConvShape& s);
void narrowWeightGrad(float* dw, const ConvGradTerm* terms, int nTerms, float scale, const ConvShape& s);
void winogradWeightGrad(float* dw, const ConvGradTerm* terms, int nTerms, float scale, const ConvShape& s);

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
