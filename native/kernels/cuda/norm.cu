// Placeholder.
#include <stdexcept>

#include "cuda_kernels.h"

namespace feynkac {
namespace FEYNKAC_PATH {
void CudaKernels::norm(float*, float*, const float*, const float*, const float*, const float*, const NormShape&) {
  throw std::runtime_error("not yet");
}
void CudaKernels::normAdjoint(float*, float*, float*, float*, const float*, const float*, const float*, const float*,
                              const float*, const float*, bool, const NormShape&) {
  throw std::runtime_error("not yet");
}
void CudaKernels::normTangent(float*, const float*, const float*, const float*, const float*, const float*,
                              const float*, const NormShape&) {
  throw std::runtime_error("not yet");
}
void CudaKernels::normSecond(float*, float*, float*, float*, const float*, const float*, const float*, const float*,
                             const float*, const float*, const float*, const float*, bool, const NormShape&) {
  throw std::runtime_error("not yet");
}
}  // namespace FEYNKAC_PATH
}  // namespace feynkac
