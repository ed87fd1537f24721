// Gradients of a convolution's weights, by the algorithm that conv_parts.h names, and of its bias.
#include "conv_parts.h"

namespace feynkac {
namespace FEYNKAC_ISA {

constexpr int kBlockRows = 256;  // sums are float32 within a block and per block after it

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

void CpuKernels::run(const op::BiasGrad& o) {
  parallelFor(tilesOf(o.channels, kLanes), [&](int block) {
    const int c = block * kLanes, n = o.channels - c < kLanes ? o.channels - c : kLanes;
    vf total = {};
    for (int first = 0; first < o.rows; first += kBlockRows) {
      const int last = first + kBlockRows < o.rows ? first + kBlockRows : o.rows;
      vf part = {};
      for (int r = first; r < last; ++r) part += loadSome(o.dy + size_t(r) * o.channels + c, n);
      total += part;
    }
    storeSome(o.dbias + c, loadSome(o.dbias + c, n) + o.scale * total, n);
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
