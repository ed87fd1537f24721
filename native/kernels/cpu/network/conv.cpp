// Convolution: each direction by the algorithm that conv_parts.h names for it.
#include "conv_parts.h"

namespace feynkac {
namespace FEYNKAC_ISA {
namespace {

void apply(float* y, const float* x, const float* packed, const Epilogue& e, const ConvShape& s, bool transposed) {
  switch (convAlgorithm(s.kernel, s.in, s.out)) {
    case ConvAlgorithm::kPointwise:
      return pointwiseConv(y, x, packed, e, s);
    case ConvAlgorithm::kNarrow:
      return narrowConv(y, x, packed, e, s);
    case ConvAlgorithm::kWinograd: {
      WeightView w = {nullptr, 9, s.in, s.out, transposed};
      memcpy(&w.w, packed, sizeof w.w);
      return winogradConv(y, x, w, e, s);
    }
    case ConvAlgorithm::kDirect:
      return directConv(y, x, packed, e, s);
  }
}

const char* nameOf(ConvAlgorithm algorithm) {
  switch (algorithm) {
    case ConvAlgorithm::kPointwise:
      return "pointwise";
    case ConvAlgorithm::kNarrow:
      return "narrow";
    case ConvAlgorithm::kWinograd:
      return "winograd";
    case ConvAlgorithm::kDirect:
      break;
  }
  return "direct";
}

}  // namespace

Kernels::ConvAlgorithms CpuKernels::convAlgorithms(const ConvShape& s) {
  return {nameOf(convAlgorithm(s.kernel, s.in, s.out)), nameOf(convAlgorithm(s.kernel, s.out, s.in)),
          nameOf(weightGradAlgorithm(s))};
}

void CpuKernels::conv(float* y, const float* x, const void* packed, const float* bias, const float* residual,
                      float scale, const ConvShape& s) {
  apply(y, x, static_cast<const float*>(packed), {bias, residual, scale, scale}, s, false);
}

void CpuKernels::convDataGrad(float* dx, const float* dy, const void* packed, float scale, bool accumulate,
                              const ConvShape& s) {
  const float* backward = static_cast<const float*>(packed) + packedFloats(s.kernel, s.in, s.out);
  apply(dx, dy, backward, {nullptr, accumulate ? dx : nullptr, scale, 1.0f},
        {s.batch, s.height, s.width, s.out, s.in, s.kernel}, true);
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
