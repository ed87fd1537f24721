// The product that a convolution is, and the end of it that all its kernels share.
#pragma once

#include "kernels/cuda/gpu.cuh"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

// y[m, n] = scale (sum_k x[m, k] w[n, k] + bias[n] + residual[m, n]) + (accumulate ? y[m, n] : 0)
struct Product {
  float* y;
  const float* x;
  const void* w;
  const float *bias, *residual;
  float scale;
  bool accumulate;
  int pixels, height, width, channels, padded, columns, kernel;
};

// A warp's sums of 16 rows and 8 NI columns, in the fragment layout of the matrix instructions, become outputs.
template <int NI>
GPU_FN void store(const Product& p, const float (&acc)[NI][4], int firstRow, int firstColumn) {
  const int lane = threadIdx.x & 31;
  const bool pairs = p.columns % 2 == 0;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int m = firstRow + (lane >> 2) + half * 8;
    if (m >= p.pixels) continue;
#pragma unroll
    for (int j = 0; j < NI; ++j) {
      const int n = firstColumn + j * 8 + (lane & 3) * 2;
      const size_t at = size_t(m) * p.columns + n;
      float v[2] = {acc[j][2 * half], acc[j][2 * half + 1]};
      if (pairs) {
        if (n >= p.columns) continue;
        const auto add = [&](const float* from) {
          const float2 r = *reinterpret_cast<const float2*>(from);
          v[0] += r.x;
          v[1] += r.y;
        };
        if (p.bias != nullptr) add(p.bias + n);
        if (p.residual != nullptr) add(p.residual + at);
        v[0] *= p.scale;
        v[1] *= p.scale;
        if (p.accumulate) add(p.y + at);
        *reinterpret_cast<float2*>(p.y + at) = make_float2(v[0], v[1]);
      } else {
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          if (n + k >= p.columns) continue;
          float s = v[k];
          if (p.bias != nullptr) s += p.bias[n + k];
          if (p.residual != nullptr) s += p.residual[at + k];
          s *= p.scale;
          p.y[at + k] = p.accumulate ? s + p.y[at + k] : s;
        }
      }
    }
  }
}

}  // namespace
}  // namespace FEYNKAC_PATH
}  // namespace feynkac
