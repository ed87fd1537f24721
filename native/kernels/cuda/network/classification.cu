// The mean over pixels, and the softmax cross-entropy of several attributes.
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/reduce.cuh"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

constexpr int kBlock = 256, kWarps = kBlock / 32;

// Samples are the rows of a RowGrid, channels its columns: neighbouring threads read neighbouring channels.
__global__ void __launch_bounds__(kBlock) mean(float* y, const float* x, unsigned batch, int pixels, int channels) {
  for (unsigned b = blockIdx.x * blockDim.y + threadIdx.y; b < batch; b += gridDim.x * blockDim.y)
    for (int c = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x); c < channels; c += gridDim.y * blockDim.x) {
      const float* from = x + size_t(b) * pixels * channels + c;
      double sum = 0;
      for (int p = 0; p < pixels; ++p) sum += from[size_t(p) * channels];
      y[size_t(b) * channels + c] = static_cast<float>(sum / pixels);
    }
}

// Pixels of all samples are the rows.
__global__ void __launch_bounds__(kBlock)
    spread(float* dx, const float* dy, bool accumulate, size_t rows, int pixels, int channels) {
  const float share = 1.0f / static_cast<float>(pixels);
  for (size_t r = size_t(blockIdx.x) * blockDim.y + threadIdx.y; r < rows; r += size_t(gridDim.x) * blockDim.y)
    for (int c = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x); c < channels; c += gridDim.y * blockDim.x) {
      float& to = dx[r * channels + c];
      const float v = dy[r / pixels * channels + c] * share;
      to = accumulate ? to + v : v;
    }
}

GPU_FN float warpMax(float v) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) v = fmaxf(v, __shfl_xor_sync(gpu::kFull, v, offset));
  return v;
}

// A warp for each row, whose lanes take turns at the classes of one attribute after the other.
__global__ void __launch_bounds__(kBlock)
    entropy(float* dlogits, double* losses, const float* logits, const float* targets, const int32_t* offsets,
            float weight, int batch, int attributes, int width) {
  const int lane = threadIdx.x & 31, b = static_cast<int>(blockIdx.x) * kWarps + (threadIdx.x >> 5);
  if (b >= batch) return;
  const float *row = logits + size_t(b) * width, *target = targets + size_t(b) * width;
  float* to = dlogits + size_t(b) * width;
  double loss = 0;
  for (int a = 0; a < attributes; ++a) {
    const int first = offsets[a], end = offsets[a + 1];
    float largest = row[first];
    double known = 0, sum = 0;
    for (int i = first + lane; i < end; i += 32) {
      largest = fmaxf(largest, row[i]);
      known += target[i];
    }
    largest = warpMax(largest);
    known = warpSum(known);
    for (int i = first + lane; i < end; i += 32) sum += exp(double(row[i]) - largest);
    const double logSum = largest + log(warpSum(sum));
    for (int i = first + lane; i < end; i += 32) {
      const double logP = row[i] - logSum;
      loss -= target[i] * logP;
      to[i] = static_cast<float>(weight * (exp(logP) * known - target[i]));
    }
  }
  loss = warpSum(loss);
  if (lane == 0) losses[b] = loss;
}

}  // namespace

void CudaKernels::run(const op::Pool& o) {
  const RowGrid g(o.batch, o.channels, kBlock);
  LAUNCH((mean), g.grid, g.block, 0, context_.stream())(o.y, o.x, o.batch, o.pixels, o.channels);
  launched("pool");
}

void CudaKernels::run(const op::PoolAdjoint& o) {
  const size_t rows = size_t(o.batch) * o.pixels;
  const RowGrid g(rows, o.channels, kBlock);
  LAUNCH((spread), g.grid, g.block, 0, context_.stream())(o.dx, o.dy, o.accumulate, rows, o.pixels, o.channels);
  launched("poolAdjoint");
}

void CudaKernels::run(const op::CrossEntropy& o) {
  LAUNCH((entropy), cover(o.batch, kWarps), kBlock, 0, context_.stream())
  (o.dlogits, o.losses, o.logits, o.targets, o.offsets, o.weight, o.batch, o.attributes, o.width);
  launched("crossEntropy");
}

}  // namespace FEYNKAC_PATH
}  // namespace feynkac
