// Copies, linear combinations, dot products, margins, the noise embedding, modulation, and the change between channels first
// and last.
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/reduce.cuh"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

constexpr int kBlock = 256;

GPU_FN float4 plus(float4 a, float4 b) { return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }
GPU_FN float plus(float a, float b) { return a + b; }
GPU_FN float4 times(float s, float4 a) { return make_float4(s * a.x, s * a.y, s * a.z, s * a.w); }
GPU_FN float times(float s, float a) { return s * a; }

// Threads along x take the columns of a row, threads along y the rows. Sizes are in units of T.
template <class T>
__global__ void __launch_bounds__(kBlock) copyColumns(T* y, const T* x, bool accumulate, size_t rows, int yWidth,
                                                      int yOffset, int xWidth, int xOffset, int n) {
  for (size_t r = size_t(blockIdx.x) * blockDim.y + threadIdx.y; r < rows; r += size_t(gridDim.x) * blockDim.y)
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
      T& to = y[r * yWidth + yOffset + i];
      const T from = x[r * xWidth + xOffset + i];
      to = accumulate ? plus(to, from) : from;
    }
}

template <class T>
__global__ void __launch_bounds__(kBlock) combineValues(T* y, float a, const T* x1, float b, const T* x2, size_t n) {
  for (size_t i = size_t(blockIdx.x) * kBlock + threadIdx.x; i < n; i += size_t(gridDim.x) * kBlock) {
    const T one = times(a, x1[i]);
    y[i] = x2 != nullptr ? plus(one, times(b, x2[i])) : one;
  }
}

__global__ void __launch_bounds__(kBlock)
    combineDoubles(double* out, const double* a, const double* x1, const double* b, const double* x2, int rows) {
  const int r = blockIdx.x * kBlock + threadIdx.x;
  if (r < rows) out[r] = a[r] * x1[r] + b[r] * x2[r];
}

__global__ void __launch_bounds__(kBlock) dotOfRows(double* out, const float* x1, const float* x2, size_t n) {
  const float *p = x1 + blockIdx.x * n, *q = x2 + blockIdx.x * n;
  double s = 0;
  for (size_t i = threadIdx.x; i < n; i += kBlock) s += double(p[i]) * double(q[i]);
  s = blockSum<kBlock>(s);
  if (threadIdx.x == 0) out[blockIdx.x] = s;
}

// y [height + 2 margin, width + 2 margin, channels] from x [height, width, channels] per image; channels in units of T. Lines of
// all images are the rows of a RowGrid.
template <class T>
__global__ void __launch_bounds__(kBlock)
    withMargin(T* y, const T* x, int margin, bool accumulate, unsigned lines, int height, int width, int channels) {
  const int outHeight = height + 2 * margin, across = (width + 2 * margin) * channels, inner = width * channels;
  for (unsigned line = blockIdx.x * blockDim.y + threadIdx.y; line < lines; line += gridDim.x * blockDim.y) {
    const int i = static_cast<int>(line % outHeight) - margin;
    const bool inside = i >= 0 && i < height;
    const T* from = x + (size_t(line / outHeight) * height + (inside ? i : 0)) * inner;
    for (int at = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x); at < across; at += gridDim.y * blockDim.x) {
      const int source = at - margin * channels;
      T& to = y[size_t(line) * across + at];
      T v = {};
      if (inside && source >= 0 && source < inner) v = from[source];
      to = accumulate ? plus(to, v) : v;
    }
  }
}

__global__ void __launch_bounds__(kBlock)
    embed(float* y, const double* t, const double* freqs, bool cosFirst, int batch, int half) {
  const int i = blockIdx.x * kBlock + threadIdx.x;
  if (i >= batch * half) return;
  const int b = i / half, k = i % half;
  const double angle = t[b] * freqs[k];
  float* row = y + size_t(b) * 2 * half + k;
  row[cosFirst ? half : 0] = static_cast<float>(sin(angle));
  row[cosFirst ? 0 : half] = static_cast<float>(cos(angle));
}

__global__ void __launch_bounds__(kBlock)
    modulateRows(float* rowGamma, float* rowBeta, const float* gamma, const float* beta, const float* scaleShift,
                 unsigned rows, int channels) {
  for (unsigned b = blockIdx.x * blockDim.y + threadIdx.y; b < rows; b += gridDim.x * blockDim.y) {
    const float *s = scaleShift + size_t(b) * 2 * channels, *t = s + channels;
    for (int c = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x); c < channels; c += gridDim.y * blockDim.x) {
      const size_t at = size_t(b) * channels + c;
      rowGamma[at] = gamma[c] * (1.0f + s[c]);
      rowBeta[at] = beta[c] * (1.0f + s[c]) + t[c];
    }
  }
}

// A block for 32 channels, whose warps take turns at the rows.
__global__ void __launch_bounds__(kBlock)
    modulateBack(float* dgamma, float* dbeta, float* dScaleShift, const float* dRowGamma, const float* dRowBeta,
                 const float* gamma, const float* beta, const float* scaleShift, int batch, int channels) {
  SHARED(double, part, [2][kBlock / 32][32]);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, c = static_cast<int>(blockIdx.x) * 32 + lane;
  const bool inside = c < channels;
  const float g = inside ? gamma[c] : 0.0f, h = inside ? beta[c] : 0.0f;
  double sumGamma = 0, sumBeta = 0;
  for (int b = warp; inside && b < batch; b += kBlock / 32) {
    const size_t at = size_t(b) * channels + c, atScale = at + size_t(b) * channels;
    const double scale = 1.0 + double(scaleShift[atScale]);
    const float dg = dRowGamma[at], dh = dRowBeta[at];
    sumGamma += scale * dg;
    sumBeta += scale * dh;
    dScaleShift[atScale] = g * dg + h * dh;
    dScaleShift[atScale + channels] = dh;
  }
  part[0][warp][lane] = sumGamma;
  part[1][warp][lane] = sumBeta;
  __syncthreads();
  if (warp < 2 && inside) {
    double sum = 0;
    for (int k = 0; k < kBlock / 32; ++k) sum += part[warp][k][lane];
    float& to = warp == 0 ? dgamma[c] : dbeta[c];
    to += static_cast<float>(sum);
  }
}

// Element i of the output, whose inner size is `inner` and outer size `outer`, is element [i % inner, i / inner] of the
// input: one thread per element of the output.
__global__ void __launch_bounds__(kBlock) last(float* y, const float* a, const float* x1, const float* bcoef,
                                               const float* x2, size_t total, int channels, int pixels) {
  for (size_t i = size_t(blockIdx.x) * kBlock + threadIdx.x; i < total; i += size_t(gridDim.x) * kBlock) {
    const int each = channels * pixels, b = static_cast<int>(i / each), k = static_cast<int>(i % each);
    const size_t from = size_t(b) * each + size_t(k % channels) * pixels + k / channels;
    const float one = a[b] * x1[from];
    y[i] = x2 != nullptr ? one + bcoef[b] * x2[from] : one;
  }
}

__global__ void __launch_bounds__(kBlock) first(float* y, const float* a, const float* x, const float* bcoef,
                                                const float* f, size_t total, int channels, int pixels) {
  for (size_t i = size_t(blockIdx.x) * kBlock + threadIdx.x; i < total; i += size_t(gridDim.x) * kBlock) {
    const int each = channels * pixels, b = static_cast<int>(i / each), k = static_cast<int>(i % each);
    const float v = bcoef[b] * f[size_t(b) * each + size_t(k % pixels) * channels + k / pixels];
    y[i] = x != nullptr ? a[b] * x[i] + v : v;
  }
}

}  // namespace

void CudaKernels::run(const op::CopyChannels& o) {
  const bool vectors = (o.yWidth | o.yOffset | o.xWidth | o.xOffset | o.n) % 4 == 0 && aligned16(o.y) && aligned16(o.x);
  const int columns = vectors ? o.n / 4 : o.n;
  int across = 1;
  while (across < columns && across < 128) across *= 2;
  const dim3 block(across, kBlock / across), grid(blocksFor(o.rows, block.y));
  if (vectors) LAUNCH((copyColumns<float4>), grid, block, 0, context_.stream())
  (reinterpret_cast<float4*>(o.y), reinterpret_cast<const float4*>(o.x), o.accumulate, o.rows, o.yWidth / 4,
   o.yOffset / 4, o.xWidth / 4, o.xOffset / 4, columns);
  else LAUNCH((copyColumns<float>), grid, block, 0, context_.stream())(o.y, o.x, o.accumulate, o.rows, o.yWidth,
                                                                       o.yOffset, o.xWidth, o.xOffset, columns);
  launched("copyChannels");
}

void CudaKernels::run(const op::Combine& o) {
  if (o.n % 4 == 0 && aligned16(o.y) && aligned16(o.x1) && aligned16(o.x2))
    LAUNCH((combineValues<float4>), blocksFor(o.n / 4, kBlock), kBlock, 0, context_.stream())
  (reinterpret_cast<float4*>(o.y), o.a, reinterpret_cast<const float4*>(o.x1), o.b,
   reinterpret_cast<const float4*>(o.x2), o.n / 4);
  else LAUNCH((combineValues<float>), blocksFor(o.n, kBlock), kBlock, 0, context_.stream())(o.y, o.a, o.x1, o.b, o.x2,
                                                                                            o.n);
  launched("combine");
}

void CudaKernels::run(const op::CombineRows& o) {
  LAUNCH((combineDoubles), cover(o.rows, kBlock), kBlock, 0, context_.stream())(o.out, o.a, o.x1, o.b, o.x2, o.rows);
  launched("combineRows");
}

void CudaKernels::run(const op::DotRows& o) {
  LAUNCH((dotOfRows), o.rows, kBlock, 0, context_.stream())(o.out, o.x1, o.x2, o.n);
  launched("dotRows");
}

void CudaKernels::run(const op::Pad& o) {
  const unsigned lines = o.batch * (o.height + 2 * o.margin);
  const bool vectors = o.channels % 4 == 0 && aligned16(o.y) && aligned16(o.x);
  const int units = vectors ? o.channels / 4 : o.channels;
  const RowGrid g(lines, size_t(o.width + 2 * o.margin) * units, kBlock);
  if (vectors) LAUNCH((withMargin<float4>), g.grid, g.block, 0, context_.stream())
  (reinterpret_cast<float4*>(o.y), reinterpret_cast<const float4*>(o.x), o.margin, o.accumulate, lines, o.height,
   o.width, units);
  else LAUNCH((withMargin<float>), g.grid, g.block, 0, context_.stream())(o.y, o.x, o.margin, o.accumulate, lines,
                                                                          o.height, o.width, units);
  launched("pad");
}

void CudaKernels::run(const op::NoiseEmbedding& o) {
  const int half = o.channels / 2;
  LAUNCH((embed), cover(size_t(o.batch) * half, kBlock), kBlock, 0, context_.stream())
  (o.y, o.t, o.freqs, o.cosFirst, o.batch, half);
  launched("noiseEmbedding");
}

void CudaKernels::run(const op::Modulate& o) {
  const RowGrid g(o.batch, o.channels, kBlock);
  LAUNCH((modulateRows), g.grid, g.block, 0, context_.stream())
  (o.rowGamma, o.rowBeta, o.gamma, o.beta, o.scaleShift, o.batch, o.channels);
  launched("modulate");
}

void CudaKernels::run(const op::ModulateAdjoint& o) {
  LAUNCH((modulateBack), cover(o.channels, 32), kBlock, 0, context_.stream())
  (o.dgamma, o.dbeta, o.dScaleShift, o.dRowGamma, o.dRowBeta, o.gamma, o.beta, o.scaleShift, o.batch, o.channels);
  launched("modulateAdjoint");
}

void CudaKernels::run(const op::ToChannelsLast& o) {
  const size_t n = size_t(o.batch) * o.channels * o.pixels;
  LAUNCH((last), blocksFor(n, kBlock), kBlock, 0, context_.stream())
  (o.y, o.a, o.x1, o.bcoef, o.x2, n, o.channels, o.pixels);
  launched("toChannelsLast");
}

void CudaKernels::run(const op::ToChannelsFirst& o) {
  const size_t n = size_t(o.batch) * o.channels * o.pixels;
  LAUNCH((first), blocksFor(n, kBlock), kBlock, 0, context_.stream())
  (o.y, o.a, o.x, o.bcoef, o.f, n, o.channels, o.pixels);
  launched("toChannelsFirst");
}

}  // namespace FEYNKAC_PATH
}  // namespace feynkac
