// The weights of a convolution, arranged for both directions as their algorithms want them (conv_parts.h).
#include "conv_parts.h"
#include "transpose.h"

namespace feynkac {
namespace FEYNKAC_ISA {
namespace {

// to[tap][out][in to whole vectors]
void packNarrow(float* to, const WeightView& v) {
  const int width = roundUp(v.in, kLanes);
  memset(to, 0, size_t(v.taps) * v.out * width * sizeof(float));
  for (int t = 0; t < v.taps; ++t)
    for (int o = 0; o < v.out; ++o, to += width)
      for (int i = 0; i < v.in; ++i) to[i] = v.w[v.at(t, i, o)];
}

void pack(float* to, const WeightView& v) {
  const int kernel = v.taps == 1 ? 1 : 3;
  switch (convAlgorithm(kernel, v.in, v.out)) {
    case ConvAlgorithm::kNarrow:
      return packNarrow(to, v);
    case ConvAlgorithm::kWinograd:
      memcpy(to, &v.w, sizeof v.w);
      return;
    default:
      const size_t each = panelFloats(v.taps, v.in);
      parallelFor(tilesOf(v.out, kTileColumns),
                  [&](int p) { packTaps(to + p * each, v, 0, v.in, p * kTileColumns, kTileColumns); });
  }
}

}  // namespace

void packTaps(float* to, const WeightView& v, int first, int count, int o, int width) {
  for (int t = 0; t < v.taps; ++t, to += size_t(count) * width) {
    if (!v.transposed) {
      const int n = least(width, v.out - o);
      for (int k = 0; k < count; ++k) {
        memcpy(to + size_t(k) * width, v.w + v.at(t, first + k, o), n * sizeof(float));
        if (n < width) memset(to + size_t(k) * width + n, 0, (width - n) * sizeof(float));
      }
      continue;
    }
    for (int c = 0; c < width; c += kLanes)
      for (int k = 0; k < count; k += kLanes) {
        const int rows = least(kLanes, count - k), columns = least(kLanes, v.out - o - c);
        float* row = to + size_t(k) * width + c;
        if (rows == kLanes && columns == kLanes) {
          transpose(row, width, v.w + v.at(t, first + k, o + c), v.in);
          continue;
        }
        for (int i = 0; i < rows; ++i, row += width)
          for (int j = 0; j < kLanes; ++j) row[j] = j < columns ? v.w[v.at(t, first + k + i, o + c + j)] : 0.0f;
      }
  }
}

size_t packedFloats(int kernel, int in, int out) {
  const size_t panels = tilesOf(out, kTileColumns);
  switch (convAlgorithm(kernel, in, out)) {
    case ConvAlgorithm::kNarrow:
      return size_t(9) * out * roundUp(in, kLanes);
    case ConvAlgorithm::kWinograd:
      return 64 / sizeof(float);  // a line of the caches
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
