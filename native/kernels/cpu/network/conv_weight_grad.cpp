// Gradients of a convolution's weights, by the algorithm that conv_parts.h names, and of its bias.
#include "conv_parts.h"

namespace feynkac {
namespace FEYNKAC_ISA {

constexpr int kBlockRows = 256;  // sums are float32 within a block and per block after it
constexpr int kBiasVectors = 4;

void CpuKernels::run(const op::ConvWeightGrad& o) {
  const ConvShape& s = o.s;
  switch (weightGradAlgorithm(s)) {
    case ConvAlgorithm::kPointwise:
      return pointwiseWeightGrad(o.dw, o.terms, o.nTerms, o.scale, s);
    case ConvAlgorithm::kNarrow:
      return narrowWeightGrad(o.dw, o.terms, o.nTerms, o.scale, s);
    case ConvAlgorithm::kWinograd:
      return winogradWeightGrad(o.dw, o.terms, o.nTerms, o.scale, s);
    case ConvAlgorithm::kDirect:
      return directWeightGrad(o.dw, o.terms, o.nTerms, o.scale, s);
  }
}

// A piece is a few vectors of channels: several chains of additions, and whole lines of the caches.
void CpuKernels::run(const op::BiasGrad& o) {
  parallelFor(tilesOf(o.channels, kBiasVectors * kLanes), [&](int block) {
    const int c = block * kBiasVectors * kLanes, n = least(kBiasVectors * kLanes, o.channels - c);
    const auto each = [&](const auto& f) __attribute__((always_inline)) {
#pragma GCC unroll 4
      for (int v = 0; v < kBiasVectors; ++v)
        if (v * kLanes < n) f(v, c + v * kLanes, least(kLanes, n - v * kLanes));
    };
    vf total[kBiasVectors] = {};
    for (int first = 0; first < o.rows; first += kBlockRows) {
      const int last = least(first + kBlockRows, o.rows);
      vf part[kBiasVectors] = {};
      const float* row = o.dy + size_t(first) * o.channels;
      for (int r = first; r < last; ++r, row += o.channels)
        each([&](int v, int from, int count)
                 __attribute__((always_inline)) { part[v] += loadSome(row + from, count); });
      each([&](int v, int, int) { total[v] += part[v]; });
    }
    each([&](int v, int from, int count) {
      storeSome(o.dbias + from, loadSome(o.dbias + from, count) + o.scale * total[v], count);
    });
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
