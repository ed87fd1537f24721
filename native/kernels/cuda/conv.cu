// Placeholder.
#include <stdexcept>

#include "cuda_kernels.h"

namespace feynkac {
size_t CudaKernels::convPackedBytes(int , int , int ) { throw std::runtime_error("not yet"); }
void CudaKernels::convPack(void* , const float* , int , int , int ) { throw std::runtime_error("not yet"); }
void CudaKernels::conv(float* , const float* , const void* , const float* , const float* , float , const ConvShape& ) { throw std::runtime_error("not yet"); }
void CudaKernels::convDataGrad(float* , const float* , const void* , float , bool , const ConvShape& ) { throw std::runtime_error("not yet"); }
void CudaKernels::convWeightGrad(float* , const ConvGradTerm* , int , float , const ConvShape& ) { throw std::runtime_error("not yet"); }
void CudaKernels::biasGrad(float* , const float* , float , int , int ) { throw std::runtime_error("not yet"); }
}
