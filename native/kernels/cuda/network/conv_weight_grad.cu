// The weight gradient as products over pixels: for each tap, dw[in, out] += scale sum_p x[p + tap, in] dy[p, out], over one
// or two terms. Few outputs and a long sum: the pixels are split over blocks, whose parts are added in a fixed order.
#include <type_traits>

#include "conv_sum.cuh"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/reduce.cuh"
#include "products.cuh"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

constexpr int kDepth = 16, kStages = 4;

// Pitches of the rows [pixel][channel]: the columns of a tile are read across, so that 4 pixels (or 4 pairs of pixels) and
// 8 channels must meet different banks.
template <Precision P, int kSize>
constexpr int kPitch = kSize + (P == Precision::kBf16 ? 4 : 8);

// A block of 2 x WN warps makes (32 MI) x (8 WN NI) outputs of one tap.
template <Precision P, int WN, int MI, int NI, bool kVectors>
struct WeightGrad {
  static constexpr int kThreads = 64 * WN, kRows = 2 * MI * 16, kColumns = WN * NI * 8;
  static constexpr int kWarpRows = MI * 16, kWarpColumns = NI * 8;
  struct Stage {
    float x[kDepth][kPitch<P, kRows>];
    float dy[kDepth][kPitch<P, kColumns>];
  };
  static constexpr size_t kShared = kStages * sizeof(Stage);
  struct Accumulators {
    float v[MI][NI][4];
  };

  // kDepth rows of `width` channels from `first`; row r is pixel[r] or none.
  template <int kSize, class PixelOf>
  GPU_FN static void loadRows(float* to, const float* from, int channels, int first, const PixelOf& pixelOf) {
    constexpr int kWide = kSize / 4;
    for (int i = threadIdx.x; i < kDepth * kWide; i += kThreads) {
      const int r = i / kWide, c = i % kWide * 4;
      const ptrdiff_t pixel = pixelOf(r);
      const float* source = from + pixel * channels + first + c;
      float* target = to + r * kPitch<P, kSize> + c;
      copyFour(target, source, pixel >= 0 ? channels - first - c : 0, kVectors, from);
    }
  }

  GPU_FN static void load(Stage& stage, const Sum& s, int step, int tap, int firstRow, int firstColumn) {
    const ConvGradTerm& term = step < s.stepsPerTerm ? s.terms[0] : s.terms[1];
    const int first = step % s.stepsPerTerm * kDepth;
    const int pad = (s.kernel - 1) / 2, v = tap / s.kernel - pad, u = tap % s.kernel - pad;
    loadRows<kRows>(stage.x[0], term.x, s.in, firstRow, [&](int r) -> ptrdiff_t {
      const int p = first + r, y = p / s.width % s.height + v, x = p % s.width + u;
      const bool inside = p < s.pixels && y >= 0 && y < s.height && x >= 0 && x < s.width;
      return inside ? static_cast<ptrdiff_t>(p) + v * s.width + u : -1;
    });
    loadRows<kColumns>(stage.dy[0], term.dy, s.outChannels, firstColumn,
                       [&](int r) -> ptrdiff_t { return first + r < s.pixels ? first + r : -1; });
  }

  GPU_FN static void multiply(float (&acc)[MI][NI][4], const Stage& s, int row, int column) {
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    uint32_t a[MI][4], b[NI][2];
    if constexpr (P == Precision::kBf16) {
#pragma unroll
      for (int i = 0; i < MI; ++i)
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          const int k = 2 * t + (q >> 1) * 8, m = row + i * 16 + g + (q & 1) * 8;
          a[i][q] = gpu::toBf16Pair(s.x[k][m], s.x[k + 1][m]);
        }
#pragma unroll
      for (int j = 0; j < NI; ++j)
#pragma unroll
        for (int q = 0; q < 2; ++q) {
          const int k = 2 * t + q * 8, n = column + j * 8 + g;
          b[j][q] = gpu::toBf16Pair(s.dy[k][n], s.dy[k + 1][n]);
        }
      multiplyPairs(acc, a, b);
    } else {
#pragma unroll
      for (int k = 0; k < kDepth; k += 8) {
#pragma unroll
        for (int i = 0; i < MI; ++i)
#pragma unroll
          for (int q = 0; q < 4; ++q)
            a[i][q] = __float_as_uint(s.x[k + t + (q >> 1) * 4][row + i * 16 + g + (q & 1) * 8]);
#pragma unroll
        for (int j = 0; j < NI; ++j)
#pragma unroll
          for (int q = 0; q < 2; ++q) b[j][q] = __float_as_uint(s.dy[k + t + q * 4][column + j * 8 + g]);
        multiplyFloats<P>(acc, a, b);
      }
    }
  }
};

template <class K, Precision P>
__global__ void __launch_bounds__(K::kThreads, 1) sumOuter(const __grid_constant__ Sum s) {
  DYN_SHARED(typename K::Stage, stages);
  const Share share(s, K::kRows, K::kColumns);
  const int warp = threadIdx.x >> 5, row = warp % 2 * K::kWarpRows, column = warp / 2 * K::kWarpColumns;

  const auto load = [&](int step) {
    if (step < share.end)
      K::load(stages[(step - share.begin) % kStages], s, step, share.tap, share.firstRow, share.firstColumn);
    gpu::commitCopies();
  };
  for (int k = 0; k < kStages - 1; ++k) load(share.begin + k);
  typename K::Accumulators acc = {};
  for (int step = share.begin; step < share.end; ++step) {
    gpu::waitCopies<kStages - 2>();
    __syncthreads();
    load(step + kStages - 1);
    K::multiply(acc.v, stages[(step - share.begin) % kStages], row, column);
  }

  const int lane = threadIdx.x & 31;
#pragma unroll
  for (int i = 0; i < K::kWarpRows / 16; ++i)
#pragma unroll
    for (int j = 0; j < K::kWarpColumns / 8; ++j)
#pragma unroll
      for (int k = 0; k < 4; ++k)
        share.put(s, row + i * 16 + (lane >> 2) + (k >> 1) * 8, column + j * 8 + (lane & 3) * 2 + (k & 1),
                  acc.v[i][j][k]);
}

constexpr int kBlock = 256;

// Column sums of a strip of kStrip rows: threads along x take columns, along y rows.
constexpr int kStrip = 256, kAcross = 32, kDown = 8;
__global__ void __launch_bounds__(kAcross* kDown) columnSums(float* parts, const float* dy, int rows, int channels) {
  SHARED(float, part, [kDown][kAcross]);
  const int c = blockIdx.y * kAcross + threadIdx.x, first = blockIdx.x * kStrip, end = min(first + kStrip, rows);
  float sum = 0;
  if (c < channels)
    for (int r = first + threadIdx.y; r < end; r += kDown) sum += dy[size_t(r) * channels + c];
  part[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && c < channels) {
    for (int k = 1; k < kDown; ++k) sum += part[k][threadIdx.x];
    parts[size_t(blockIdx.x) * channels + c] = sum;
  }
}

__global__ void __launch_bounds__(kBlock)
    addSums(float* dbias, const float* parts, float scale, int strips, int channels) {
  const int c = blockIdx.x;
  double sum = 0;
  for (int k = threadIdx.x; k < strips; k += kBlock) sum += parts[size_t(k) * channels + c];
  sum = blockSum<kBlock>(sum);
  if (threadIdx.x == 0) dbias[c] += scale * static_cast<float>(sum);
}

template <class K, Precision P>
void launchSum(Context& context, float* dw, const Sum& s) {
  context.stream();
  allowShared(sumOuter<K, P>, K::kShared);
  launchShares(context, dw, s, K::kRows, K::kColumns, kDepth, [&](const Sum& split, unsigned blocks) {
    LAUNCH((sumOuter<K, P>), blocks, K::kThreads, K::kShared, context.stream())(split);
  });
}

}  // namespace

void CudaKernels::run(const op::ConvWeightGrad& o) {
  const ConvShape& s = o.s;
  const bool vectors = inVectors(o.terms, o.nTerms, s);
  forEachSum(o.terms, o.nTerms, o.scale, s, [&](const Sum& sum) {
    withPrecision(precision_, [&](auto constant) {
      constexpr Precision P = constant();
      if (!vectors)
        launchSum<WeightGrad<P, 2, 2, 4, false>, P>(context_, o.dw, sum);
      else if (s.in > 64 && s.out > 64)
        launchSum<WeightGrad<P, 4, 4, 4, true>, P>(context_, o.dw, sum);
      else
        launchSum<WeightGrad<P, 2, 2, 4, true>, P>(context_, o.dw, sum);
    });
  });
}

void CudaKernels::run(const op::BiasGrad& o) {
  const unsigned strips = cover(o.rows, kStrip);
  float* parts = context_.scratch<float>(size_t(strips) * o.channels);
  LAUNCH((columnSums), dim3(strips, cover(o.channels, kAcross)), dim3(kAcross, kDown), 0, context_.stream())
  (parts, o.dy, o.rows, o.channels);
  LAUNCH((addSums), o.channels, kBlock, 0, context_.stream())
  (o.dbias, parts, o.scale, static_cast<int>(strips), o.channels);
  launched("biasGrad");
}

}  // namespace FEYNKAC_PATH
}  // namespace feynkac
