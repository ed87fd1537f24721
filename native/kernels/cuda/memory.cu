// Memory of the CUDA backend.
#include "cuda_kernels.h"

namespace feynkac {

void* CudaKernels::allocate(size_t bytes) { return context_.allocate(bytes); }
void CudaKernels::release(void* memory) { context_.release(memory); }
void CudaKernels::upload(void* to, const void* hostFrom, size_t bytes) { context_.upload(to, hostFrom, bytes); }
void CudaKernels::download(void* hostTo, const void* from, size_t bytes) { context_.download(hostTo, from, bytes); }
void CudaKernels::zero(void* to, size_t bytes) { context_.zero(to, bytes); }

}  // namespace feynkac
