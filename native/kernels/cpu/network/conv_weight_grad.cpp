// Gradients of a convolution's weights, by the algorithm that conv_parts.h names, and of its bias.
#include "conv_parts.h"

namespace feynkac {
namespace FEYNKAC_ISA {

constexpr int kBlockRows = 256;  // sums are float32 within a block and per block after it

void CpuKernels::convWeightGrad(float* dw, const ConvGradTerm* terms, int nTerms, float scale, const ConvShape& s) {
  switch (weightGradAlgorithm(s)) {
    case ConvAlgorithm::kPointwise:
      return pointwiseWeightGrad(dw, terms, nTerms, scale, s);
    case ConvAlgorithm::kNarrow:
      return narrowWeightGrad(dw, terms, nTerms, scale, s);
    case ConvAlgorithm::kWinograd:
      return winogradWeightGrad(dw, terms, nTerms, scale, s);
    case ConvAlgorithm::kDirect:
      return directWeightGrad(dw, terms, nTerms, scale, s);
  }
}

void CpuKernels::biasGrad(float* dbias, const float* dy, float scale, int rows, int channels) {
  parallelFor(tilesOf(channels, kLanes), [&](int block) {
    const int c = block * kLanes, n = channels - c < kLanes ? channels - c : kLanes;
    vf total = {};
    for (int first = 0; first < rows; first += kBlockRows) {
      const int last = first + kBlockRows < rows ? first + kBlockRows : rows;
      vf part = {};
      for (int r = first; r < last; ++r) part += loadSome(dy + size_t(r) * channels + c, n);
      total += part;
    }
    storeSome(dbias + c, loadSome(dbias + c, n) + scale * total, n);
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
