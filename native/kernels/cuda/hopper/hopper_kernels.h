// The CUDA backend on Hopper (sm_90a): its convolutions by instructions that only this has, all else as elsewhere.
#pragma once

#include "kernels/cuda/cuda_kernels.h"

namespace feynkac {
namespace FEYNKAC_PATH {

class HopperKernels final : public CudaKernels {
 public:
  using CudaKernels::CudaKernels;

  using CudaKernels::run;
  // conv_pack_hopper.cu
  size_t convPackedBytes(int kernel, int in, int out) override;
  void run(const op::ConvPack& o) override;
  // conv_hopper.cu
  void run(const op::Conv& o) override;
  void run(const op::ConvDataGrad& o) override;
  // conv_weight_grad_hopper.cu
  void run(const op::ConvWeightGrad& o) override;
};

}  // namespace FEYNKAC_PATH
}  // namespace feynkac
