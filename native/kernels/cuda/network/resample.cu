// Resampling by a separable filter, by gathering: every output value sums the taps that reach it.
#include "kernels/cuda/cuda_kernels.h"

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
// 2 i + p - pad with taps[p]; up reads row (i + pad - p) / 2 with the taps p that make it whole. Lines of all images are the rows
// of a RowGrid.
template <bool kUp, class T>
__global__ void __launch_bounds__(kBlock, 1)
    filter(T* y, const T* x, const __grid_constant__ Filter f, float gain, bool accumulate, unsigned lines, int height,
           int width, int channels) {
  const int pad = (f.n - 1) / 2, outHeight = kUp ? 2 * height : height / 2, outWidth = kUp ? 2 * width : width / 2,
            across = outWidth * channels;
  for (unsigned line = blockIdx.x * blockDim.y + threadIdx.y; line < lines; line += gridDim.x * blockDim.y) {
    const int i = static_cast<int>(line % outHeight);
    const T* image = x + size_t(line / outHeight) * height * width * channels;
    for (int at = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x); at < across; at += gridDim.y * blockDim.x) {
      const int j = at / channels, c = at % channels;
      T& out = y[size_t(line) * across + at];
      T s = {};
      if (accumulate) s = out;
      const int step = kUp ? 2 : 1;
      for (int p = kUp ? (i + pad) % 2 : 0; p < f.n; p += step) {
        const int row = kUp ? (i + pad - p) / 2 : 2 * i + p - pad;
        if ((kUp && i + pad < p) || row < 0 || row >= height) continue;
        for (int q = kUp ? (j + pad) % 2 : 0; q < f.n; q += step) {
          const int column = kUp ? (j + pad - q) / 2 : 2 * j + q - pad;
          if ((kUp && j + pad < q) || column < 0 || column >= width) continue;
          s = fma(gain * f.taps[p] * f.taps[q], image[(size_t(row) * width + column) * channels + c], s);
        }
      }
      out = s;
    }
  }
}

template <bool kUp, class T>
void launch(cudaStream_t stream, float* y, const float* x, const Filter& f, float gain, bool accumulate, int batch,
            int height, int width, int channels) {
  const int lines = batch * (kUp ? 2 * height : height / 2);
  const RowGrid g(lines, size_t(kUp ? 2 * width : width / 2) * channels, kBlock);
  LAUNCH((filter<kUp, T>), g.grid, g.block, 0, stream)
  (reinterpret_cast<T*>(y), reinterpret_cast<const T*>(x), f, gain, accumulate, lines, height, width, channels);
}

template <bool kUp>
void launchFilter(cudaStream_t stream, float* y, const float* x, const float* taps, int n, float gain, bool accumulate,
                  int batch, int height, int width, int channels) {
  Filter f = {};
  f.n = n;
  for (int i = 0; i < n; ++i) f.taps[i] = taps[i];
  if (channels % 4 == 0 && aligned16(y) && aligned16(x))
    launch<kUp, float4>(stream, y, x, f, gain, accumulate, batch, height, width, channels / 4);
  else
    launch<kUp, float>(stream, y, x, f, gain, accumulate, batch, height, width, channels);
  launched("resampling");
}

}  // namespace

void CudaKernels::run(const op::Downsample& o) {
  launchFilter<false>(context_.stream(), o.y, o.x, o.taps, o.n, o.gain, o.accumulate, o.batch, o.height, o.width,
                      o.channels);
}

void CudaKernels::run(const op::Upsample& o) {
  launchFilter<true>(context_.stream(), o.y, o.x, o.taps, o.n, o.gain, o.accumulate, o.batch, o.height, o.width,
                     o.channels);
}

}  // namespace FEYNKAC_PATH
}  // namespace feynkac
