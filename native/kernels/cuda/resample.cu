// Resampling by a separable filter, by gathering: every output value sums the taps that reach it.
#include "cuda_kernels.h"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

constexpr int kBlock = 256, kMaxTaps = 8;

struct Filter {
  float taps[kMaxTaps];
  int n;
};

GPU_FN float4 fma(float w, float4 x, float4 s) {
  return make_float4(s.x + w * x.x, s.y + w * x.y, s.z + w * x.z, s.w + w * x.w);
}
GPU_FN float fma(float w, float x, float s) { return s + w * x; }

// y [outHeight, outWidth, channels] from x [height, width, channels] per image; channels in units of T. Down reads rows
// 2 i + p - pad with taps[p]; up reads row (i + pad - p) / 2 with the taps p that make it whole.
template <bool kUp, class T>
__global__ void __launch_bounds__(kBlock)
    filter(T* y, const T* x, const __grid_constant__ Filter f, float gain, bool accumulate, size_t total, int height,
           int width, int outHeight, int outWidth, int channels) {
  const int pad = (f.n - 1) / 2;
  for (size_t k = size_t(blockIdx.x) * kBlock + threadIdx.x; k < total; k += size_t(gridDim.x) * kBlock) {
    const int c = static_cast<int>(k % channels);
    const size_t pixel = k / channels;
    const int j = static_cast<int>(pixel % outWidth);
    const size_t line = pixel / outWidth;
    const int i = static_cast<int>(line % outHeight);
    const T* image = x + line / outHeight * height * width * channels + c;
    T s = {};
    if (accumulate) s = y[k];
    const int step = kUp ? 2 : 1;
    for (int p = kUp ? (i + pad) % 2 : 0; p < f.n; p += step) {
      const int row = kUp ? (i + pad - p) / 2 : 2 * i + p - pad;
      if ((kUp && i + pad < p) || row < 0 || row >= height) continue;
      for (int q = kUp ? (j + pad) % 2 : 0; q < f.n; q += step) {
        const int column = kUp ? (j + pad - q) / 2 : 2 * j + q - pad;
        if ((kUp && j + pad < q) || column < 0 || column >= width) continue;
        s = fma(gain * f.taps[p] * f.taps[q], image[(size_t(row) * width + column) * channels], s);
      }
    }
    y[k] = s;
  }
}

template <bool kUp>
void launchFilter(cudaStream_t stream, float* y, const float* x, const float* taps, int n, float gain, bool accumulate,
                  int batch, int height, int width, int channels) {
  Filter f = {};
  f.n = n;
  for (int i = 0; i < n; ++i) f.taps[i] = taps[i];
  const int outHeight = kUp ? 2 * height : height / 2, outWidth = kUp ? 2 * width : width / 2;
  const size_t outputs = size_t(batch) * outHeight * outWidth;
  if (channels % 4 == 0 && aligned16(y) && aligned16(x)) {
    const size_t total = outputs * (channels / 4);
    LAUNCH((filter<kUp, float4>), blocksFor(total, kBlock), kBlock, 0, stream)
    (reinterpret_cast<float4*>(y), reinterpret_cast<const float4*>(x), f, gain, accumulate, total, height, width,
     outHeight, outWidth, channels / 4);
  } else {
    const size_t total = outputs * channels;
    LAUNCH((filter<kUp, float>), blocksFor(total, kBlock), kBlock, 0, stream)
    (y, x, f, gain, accumulate, total, height, width, outHeight, outWidth, channels);
  }
  launched("resampling");
}

}  // namespace

void CudaKernels::downsample(float* y, const float* x, const float* taps, int n, float gain, bool accumulate, int batch,
                             int height, int width, int channels) {
  launchFilter<false>(context_.stream(), y, x, taps, n, gain, accumulate, batch, height, width, channels);
}

void CudaKernels::upsample(float* y, const float* x, const float* taps, int n, float gain, bool accumulate, int batch,
                           int height, int width, int channels) {
  launchFilter<true>(context_.stream(), y, x, taps, n, gain, accumulate, batch, height, width, channels);
}

}  // namespace FEYNKAC_PATH
}  // namespace feynkac
