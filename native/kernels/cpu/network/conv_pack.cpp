// The weights of a convolution, arranged for both directions as their algorithms want them (conv_parts.h).
#include "conv_parts.h"
#include "winograd.h"

namespace feynkac {
namespace FEYNKAC_ISA {
namespace {

// One direction's view of the master weights: the transpose looks from the output back, channels exchanged and taps reversed.
struct View {
  const float* w;
  int taps, in, out;  // of the direction
  bool transposed;

  size_t at(int tap, int i, int o) const {
    return transposed ? (size_t(taps - 1 - tap) * out + o) * in + i : (size_t(tap) * in + i) * out + o;
  }
};

// to[tap][in][kTileColumns] = outputs o .. o + kTileColumns, zeros after the last
void packPanel(float* to, const View& v, int o) {
  const int n = least(kTileColumns, v.out - o);
  for (int t = 0; t < v.taps; ++t)
    for (int i = 0; i < v.in; ++i, to += kTileColumns) {
      if (n < kTileColumns) memset(to, 0, kTileColumns * sizeof(float));
      const float* from = v.w + v.at(t, i, o);
      if (!v.transposed)
        memcpy(to, from, n * sizeof(float));
      else
        for (int j = 0; j < n; ++j) to[j] = from[size_t(j) * v.in];
    }
}

// to[tap][out][in to whole vectors]
void packNarrow(float* to, const View& v) {
  const int width = roundUp(v.in, kLanes);
  memset(to, 0, size_t(v.taps) * v.out * width * sizeof(float));
  for (int t = 0; t < v.taps; ++t)
    for (int o = 0; o < v.out; ++o, to += width)
      for (int i = 0; i < v.in; ++i) to[i] = v.w[v.at(t, i, o)];
}

void pack(float* to, const View& v) {
  const int kernel = v.taps == 1 ? 1 : 3;
  const ConvAlgorithm algorithm = convAlgorithm(kernel, v.in, v.out);
  if (algorithm == ConvAlgorithm::kNarrow) return packNarrow(to, v);
  const int panels = tilesOf(v.out, kTileColumns);
  const size_t each = packedFloats(kernel, v.in, v.out) / panels, floats = panelFloats(v.taps, v.in);
  parallelFor(panels, [&](int p) {
    if (algorithm != ConvAlgorithm::kWinograd) return packPanel(to + p * each, v, p * kTileColumns);
    float* panel = scratch(0, floats);
    packPanel(panel, v, p * kTileColumns);
    transformPanel(to + p * each, each / winograd::kFrequencies, panel, v.in, v.in);
  });
}

}  // namespace

size_t packedFloats(int kernel, int in, int out) {
  const size_t panels = tilesOf(out, kTileColumns);
  switch (convAlgorithm(kernel, in, out)) {
    case ConvAlgorithm::kNarrow:
      return size_t(9) * out * roundUp(in, kLanes);
    case ConvAlgorithm::kWinograd:
      return panels * panelFloats(winograd::kFrequencies, in + 1);
    default:
      return panels * panelFloats(kernel * kernel, in);
  }
}

size_t CpuKernels::convPackedBytes(int kernel, int in, int out) {
  return (packedFloats(kernel, in, out) + packedFloats(kernel, out, in)) * sizeof(float);
}

void CpuKernels::run(const op::ConvPack& o) {
  pack(static_cast<float*>(o.packed), {o.w, o.kernel * o.kernel, o.in, o.out, false});
}

void CpuKernels::run(const op::ConvPackForGrad& o) {
  pack(static_cast<float*>(o.packed) + packedFloats(o.kernel, o.in, o.out),
       {o.w, o.kernel * o.kernel, o.out, o.in, true});
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
