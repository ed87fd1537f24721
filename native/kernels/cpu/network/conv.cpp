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

void CpuKernels::run(const op::Conv& o) {
  apply(o.y, o.x, static_cast<const float*>(o.packed), {o.bias, o.residual, o.scale, o.scale}, o.s, false);
}

void CpuKernels::run(const op::ConvDataGrad& o) {
  const ConvShape& s = o.s;
  const float* backward = static_cast<const float*>(o.packed) + packedFloats(s.kernel, s.in, s.out);
  apply(o.dx, o.dy, backward, {nullptr, o.accumulate ? o.dx : nullptr, o.scale, 1.0f},
        {s.batch, s.height, s.width, s.out, s.in, s.kernel}, true);
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
