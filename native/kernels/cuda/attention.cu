// Placeholder.
#include <stdexcept>

#include "cuda_kernels.h"

namespace feynkac {
namespace FEYNKAC_PATH {
void CudaKernels::attention(float*, const float*, const AttentionShape&) { throw std::runtime_error("not yet"); }
void CudaKernels::attentionAdjoint(float*, const float*, const float*, const AttentionShape&) {
  throw std::runtime_error("not yet");
}
void CudaKernels::attentionTangent(float*, const float*, const float*, const AttentionShape&) {
  throw std::runtime_error("not yet");
}
void CudaKernels::attentionSecond(float*, const float*, const float*, const float*, const float*,
                                  const AttentionShape&) {
  throw std::runtime_error("not yet");
}
}  // namespace FEYNKAC_PATH
}  // namespace feynkac
