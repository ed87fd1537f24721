// The noised indicator of a box on CUDA, in float64.
#include "cuda_particles.h"
#include "kernels/common/soft_box_mass.h"
#include "kernels/cuda/rows.cuh"

namespace feynkac {
namespace {

constexpr int kBlock = 256;

template <bool kWide>
__global__ void __launch_bounds__(kBlock)
    boxRows(double* energy, float* grad, const float* x, const double* lower, const double* upper, double t,
            size_t rows, size_t d, unsigned width) {
  const size_t r = groupRow<kWide, kBlock>(width), columns = r < rows ? d : 0;
  double sum = 0;
  for (size_t i = groupLane<kWide>(width); i < columns; i += width) {
    const double at = x[r * d + i], a = (lower[i] - at) / t, b = (upper[i] - at) / t;
    double slope = 0;
    if (a > -9 || b < 9) sum += logMass(a, b, slope);  // else 1 - h < 3e-19
    grad[r * d + i] = static_cast<float>(slope / t);
  }
  sum = groupSum<kWide, kBlock>(sum, width);
  if (r < rows && groupLane<kWide>(width) == 0) energy[r] = sum;
}

}  // namespace

void CudaParticleKernels::softBox(double* energy, float* grad, const float* x, const double* lower, const double* upper,
                                  double t, size_t rows, size_t d) {
  if (rows == 0) return;
  double* bounds = context_.scratch<double>(2 * d);
  context_.upload(bounds, lower, d * sizeof(double));
  context_.upload(bounds + d, upper, d * sizeof(double));
  const RowGroup group(rows, d, kBlock);
  const auto kernel = group.wide ? boxRows<true> : boxRows<false>;
  LAUNCH((kernel), group.blocks, kBlock, 0, context_.stream())
  (energy, grad, x, bounds, bounds + d, t, rows, d, group.width);
  launched("softBox");
}

}  // namespace feynkac
