// The CUDA backend on Hopper (sm_90a): its convolutions by instructions that only this has, all else as elsewhere.
#pragma once

#include "kernels/cuda/cuda_kernels.h"

namespace feynkac {
namespace FEYNKAC_PATH {

class HopperKernels final : public CudaKernels {
 public:
  using CudaKernels::CudaKernels;

  // conv_pack_hopper.cu
  size_t convPackedBytes(int kernel, int in, int out) override;
  void convPack(void* packed, const float* w, int kernel, int in, int out) override;
  // conv_hopper.cu
  void conv(float* y, const float* x, const void* packed, const float* bias, const float* residual, float scale,
            const ConvShape& s) override;
  void convDataGrad(float* dx, const float* dy, const void* packed, float scale, bool accumulate,
                    const ConvShape& s) override;
  // conv_weight_grad_hopper.cu
  void convWeightGrad(float* dw, const ConvGradTerm* terms, int nTerms, float scale, const ConvShape& s) override;
};

}  // namespace FEYNKAC_PATH
}  // namespace feynkac
