// Sums over a warp or a block, in an order that depends on nothing but the sizes.
#pragma once

#include "gpu.cuh"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

// Every lane gets the sum.
template <class T>
GPU_FN T warpSum(T v) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) v += __shfl_xor_sync(gpu::kFull, v, offset);
  return v;
}

// Every thread of a block of kBlock threads gets the sum; needs all of them. Safe to call again at once.
template <int kBlock, class T>
GPU_FN T blockSum(T v) {
  SHARED(T, part, [kBlock / 32]);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  v = warpSum(v);
  if (lane == 0) part[warp] = v;
  __syncthreads();
  T total = 0;
#pragma unroll
  for (int i = 0; i < kBlock / 32; ++i) total += part[i];
  __syncthreads();
  return total;
}

}  // namespace
}  // namespace FEYNKAC_PATH
}  // namespace feynkac
