// Dropout: a value is kept or not by its own random word, so that the adjoint, a split batch and other backends see the same mask.
#include "kernels/common/random.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/rows.cuh"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

constexpr int kBlock = 256;

// Four values of one Philox block per thread; quads of a row are the columns of a RowGrid.
__global__ void __launch_bounds__(kBlock)
    drop(float* y, const float* x, float rate, float scale, const uint32_t* key, uint32_t purpose, bool accumulate,
         bool aligned, unsigned rows, size_t n) {
  const uint64_t seed = uint64_t{key[1]} << 32 | key[0];
  const uint32_t step = key[2], firstRow = key[3];
  const size_t quads = (n + 3) / 4;
  for (unsigned r = blockIdx.x * blockDim.y + threadIdx.y; r < rows; r += gridDim.x * blockDim.y)
    for (size_t q = size_t(blockIdx.y) * blockDim.x + threadIdx.x; q < quads; q += size_t(gridDim.y) * blockDim.x) {
      const Philox p = philox(seed, purpose, step, firstRow + r, static_cast<uint32_t>(q));
      const float4 v = loadQuad(x + r * n, q, n, aligned);
      float4 out = make_float4(0, 0, 0, 0);
      if (accumulate) out = loadQuad(y + r * n, q, n, aligned);
      if (keeps(p.v[0], rate)) out.x += v.x * scale;
      if (keeps(p.v[1], rate)) out.y += v.y * scale;
      if (keeps(p.v[2], rate)) out.z += v.z * scale;
      if (keeps(p.v[3], rate)) out.w += v.w * scale;
      storeQuad(y + r * n, q, n, aligned, out);
    }
}

}  // namespace

void CudaKernels::run(const op::Dropout& o) {
  const bool aligned = o.n % 4 == 0 && aligned16(o.y) && aligned16(o.x);
  const float scale = static_cast<float>(1 / (1 - double(o.rate)));
  const RowGrid g(o.rows, (o.n + 3) / 4, kBlock);
  LAUNCH((drop), g.grid, g.block, 0, context_.stream())
  (o.y, o.x, o.rate, scale, o.key, kDropout + (o.layer << 8), o.accumulate, aligned, o.rows, o.n);
  launched("dropout");
}

}  // namespace FEYNKAC_PATH
}  // namespace feynkac
