// Convolution as an implicit product: rows are the output pixels, columns the output channels, and K walks the taps and,
// within a tap, slices of the input's channels. The data gradient is the same product with the taps in reverse order
// and the weights transposed, so both directions share one kernel and differ in the packed weights.
#include <type_traits>

#include "conv_product.cuh"
#include "kernels/cuda/cuda_kernels.h"
#include "products.cuh"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

// A slice of K in shared memory: images as float32 rows [pixel][channel], weights as rows [column][channel]. Pitches keep
// ldmatrix and the loads of pairs free of bank conflicts.
template <Precision P>
struct Slice {
  static constexpr bool kPairs = P == Precision::kBf16;
  using Weight = std::conditional_t<kPairs, uint16_t, float>;
  static constexpr int kDepth = kPairs ? 32 : 16;
  static constexpr int kPitch = kPairs ? 40 : 20;
};

// Packed weights: forward [out][taps][paddedIn], then backward [in][taps, reversed][paddedOut], channels padded with zeros
// to whole slices.
struct Packing {
  Packing(Precision precision, int kernel, int in, int out)
      : pairs(precision == Precision::kBf16), taps(kernel * kernel), in(in), out(out) {
    const int depth = pairs ? Slice<Precision::kBf16>::kDepth : Slice<Precision::kFp32>::kDepth;
    paddedIn = (in + depth - 1) / depth * depth;
    paddedOut = (out + depth - 1) / depth * depth;
  }
  size_t forwardSize() const { return size_t(out) * taps * paddedIn; }
  size_t backwardSize() const { return size_t(in) * taps * paddedOut; }
  size_t bytes() const { return (forwardSize() + backwardSize()) * (pairs ? 2 : 4); }
  bool pairs;
  int taps, in, out, paddedIn, paddedOut;
};

constexpr int kPackBlock = 256;

template <bool kPairs, class T>
__global__ void __launch_bounds__(kPackBlock) pack(T* packed, const float* w, Packing p, size_t forward, size_t total) {
  for (size_t i = size_t(blockIdx.x) * kPackBlock + threadIdx.x; i < total; i += size_t(gridDim.x) * kPackBlock) {
    const bool back = i >= forward;
    const size_t k = back ? i - forward : i;
    const int padded = back ? p.paddedOut : p.paddedIn;
    const int channel = static_cast<int>(k % padded), tap = static_cast<int>(k / padded % p.taps),
              column = static_cast<int>(k / padded / p.taps);
    float value = 0;
    if (channel < (back ? p.out : p.in)) {
      const int from = back ? p.taps - 1 - tap : tap, ci = back ? column : channel, co = back ? channel : column;
      value = w[(size_t(from) * p.in + ci) * p.out + co];
    }
    if constexpr (kPairs)
      packed[i] = static_cast<T>(gpu::toBf16Pair(value, 0.0f));
    else
      packed[i] = value;
  }
}

template <Precision P>
constexpr int kStages = P == Precision::kBf16 ? 3 : 4;

// A block of WM x WN warps makes (WM MI 16) x (WN NI 8) outputs. kVectors: channels are a multiple of 4 and x is aligned.
template <Precision P, int WM, int WN, int MI, int NI, bool kVectors>
struct ConvKernel {
  using S = Slice<P>;
  using Weight = typename S::Weight;
  static constexpr int kThreads = 32 * WM * WN, kRows = WM * MI * 16, kColumns = WN * NI * 8, kPitch = S::kPitch;
  struct Stage {
    float x[kRows][kPitch];
    Weight w[kColumns][kPitch];
  };
  static constexpr size_t kShared = kStages<P> * sizeof(Stage);
  static constexpr int kWarpRows = MI * 16, kWarpColumns = NI * 8;
  struct Accumulators {
    float v[MI][NI][4];
  };

  // Where this thread's part of the image tile comes from.
  static constexpr int kPerRow = S::kDepth / 4, kRowStep = kThreads / kPerRow, kCopies = kRows / kRowStep;
  struct Source {
    int row[kCopies], y[kCopies], x[kCopies];  // pixel number and place; y far below the image where there is none
  };

  GPU_FN static Source sourceOf(const Product& p, int first) {
    Source s;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int m = first + static_cast<int>(threadIdx.x) / kPerRow + i * kRowStep;
      s.row[i] = m < p.pixels ? m : 0;
      s.x[i] = s.row[i] % p.width;
      s.y[i] = m < p.pixels ? s.row[i] / p.width % p.height : -4;
    }
    return s;
  }

  GPU_FN static void load(Stage& stage, const Product& p, const Source& s, int firstColumn, int tap, int channel) {
    const int pad = (p.kernel - 1) / 2, dy = tap / p.kernel - pad, dx = tap % p.kernel - pad;
    const int c = (static_cast<int>(threadIdx.x) % kPerRow) * 4;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int y = s.y[i] + dy, x = s.x[i] + dx;
      const bool inside = y >= 0 && y < p.height && x >= 0 && x < p.width;
      const float* from = p.x + (static_cast<ptrdiff_t>(s.row[i]) + dy * p.width + dx) * p.channels + channel + c;
      float* to = &stage.x[threadIdx.x / kPerRow + i * kRowStep][c];
      copyFour(to, from, inside ? p.channels - channel - c : 0, kVectors, p.x);
    }
    constexpr int kEach = 16 / sizeof(Weight), kWide = S::kDepth / kEach;
    const Weight* w = static_cast<const Weight*>(p.w);
    const size_t depth = size_t(p.kernel) * p.kernel * p.padded;
    for (int i = threadIdx.x; i < kColumns * kWide; i += kThreads) {
      const int n = i / kWide, k = i % kWide * kEach;
      const bool ok = firstColumn + n < p.columns;
      const Weight* from = w + (firstColumn + n) * depth + size_t(tap) * p.padded + channel + k;
      gpu::copyAsync16(&stage.w[n][k], ok ? from : w, ok);
    }
  }

  GPU_FN static void multiply(float (&acc)[MI][NI][4], const Stage& s, int row, int column) {
    const int lane = threadIdx.x & 31;
    uint32_t a[MI][4], b[NI][2];
#pragma unroll
    for (int k = 0; k < S::kDepth; k += S::kPairs ? 16 : 8) {
      constexpr int kHalf = S::kPairs ? 8 : 4;  // values of K in 16 bytes of weights
#pragma unroll
      for (int j = 0; j < NI; j += 2) {
        uint32_t r[4];
        gpu::loadMatrices(r, &s.w[column + j * 8 + (lane & 7) + (lane >> 4) * 8][k + ((lane >> 3) & 1) * kHalf]);
        b[j][0] = r[0];
        b[j][1] = r[1];
        b[j + 1][0] = r[2];
        b[j + 1][1] = r[3];
      }
      if constexpr (S::kPairs) {
#pragma unroll
        for (int i = 0; i < MI; ++i)
#pragma unroll
          for (int q = 0; q < 4; ++q) {
            const float2 v = *reinterpret_cast<const float2*>(
                &s.x[row + i * 16 + (lane >> 2) + (q & 1) * 8][k + (lane & 3) * 2 + (q >> 1) * 8]);
            a[i][q] = gpu::toBf16Pair(v.x, v.y);
          }
        multiplyPairs(acc, a, b);
      } else {
#pragma unroll
        for (int i = 0; i < MI; ++i) gpu::loadMatrices(a[i], &s.x[row + i * 16 + (lane & 15)][k + (lane >> 4) * 4]);
        multiplyFloats<P>(acc, a, b);
      }
    }
  }
};

template <class K, Precision P>
__global__ void __launch_bounds__(K::kThreads, K::kThreads == 256 ? 1 : 4) convolve(const __grid_constant__ Product p) {
  DYN_SHARED(typename K::Stage, stages);
  constexpr int kCount = kStages<P>, kDepth = Slice<P>::kDepth;
  // Neighbours in the grid share rows of the image, so that these come from the cache.
  const int columnTiles = (p.columns + K::kColumns - 1) / K::kColumns;
  const int firstRow = static_cast<int>(blockIdx.x) / columnTiles * K::kRows,
            firstColumn = static_cast<int>(blockIdx.x) % columnTiles * K::kColumns;
  const int warp = threadIdx.x >> 5;
  const int row = warp % (K::kRows / K::kWarpRows) * K::kWarpRows,
            column = warp / (K::kRows / K::kWarpRows) * K::kWarpColumns;
  const auto source = K::sourceOf(p, firstRow);
  const int slices = p.padded / kDepth, steps = p.kernel * p.kernel * slices;

  int tap = 0, slice = 0;  // of the next load
  const auto loadNext = [&](int step) {
    if (step < steps) K::load(stages[step % kCount], p, source, firstColumn, tap, slice * kDepth);
    gpu::commitCopies();  // also an empty group, so that the count below holds at the end
    if (++slice == slices) {
      slice = 0;
      ++tap;
    }
  };
  for (int step = 0; step < kCount - 1; ++step) loadNext(step);
  typename K::Accumulators acc = {};
  for (int step = 0; step < steps; ++step) {
    gpu::waitCopies<kCount - 2>();
    __syncthreads();  // the slice is here for all, and all are done with the one that is loaded next
    loadNext(step + kCount - 1);
    K::multiply(acc.v, stages[step % kCount], row, column);
  }
#pragma unroll
  for (int i = 0; i < K::kWarpRows / 16; ++i) store(p, acc.v[i], firstRow + row + i * 16, firstColumn + column);
}

template <class K, Precision P>
void launchProduct(cudaStream_t stream, const Product& p) {
  allowShared(convolve<K, P>, K::kShared);
  const unsigned blocks = cover(p.pixels, K::kRows) * cover(p.columns, K::kColumns);
  LAUNCH((convolve<K, P>), blocks, K::kThreads, K::kShared, stream)(p);
  launched("convolution");
}

// Large tiles where there are enough of them to fill the device, small ones otherwise: each output is the same sum in both.
void multiply(Context& context, Precision precision, const Product& p) {
  cudaStream_t stream = context.stream();
  const bool vectors = p.channels % 4 == 0 && aligned16(p.x);
  withPrecision(precision, [&](auto constant) {
    constexpr Precision P = constant();
    if (!vectors)
      launchProduct<ConvKernel<P, 2, 2, 2, 4, false>, P>(stream, p);
    else if (size_t(cover(p.pixels, 128)) * cover(p.columns, 128) >= size_t(context.multiprocessors()))
      launchProduct<ConvKernel<P, 2, 4, 4, 4, true>, P>(stream, p);
    else
      launchProduct<ConvKernel<P, 2, 2, 2, 4, true>, P>(stream, p);
  });
}

}  // namespace

size_t CudaKernels::convPackedBytes(int kernel, int in, int out) {
  return Packing(precision_, kernel, in, out).bytes();
}

void CudaKernels::run(const op::ConvPack& o) {
  const Packing p(precision_, o.kernel, o.in, o.out);
  const size_t total = p.forwardSize() + p.backwardSize();
  if (p.pairs) LAUNCH((pack<true, uint16_t>), blocksFor(total, kPackBlock), kPackBlock, 0, context_.stream())
  (static_cast<uint16_t*>(o.packed), o.w, p, p.forwardSize(), total);
  else LAUNCH((pack<false, float>), blocksFor(total, kPackBlock), kPackBlock, 0, context_.stream())(
      static_cast<float*>(o.packed), o.w, p, p.forwardSize(), total);
  launched("convPack");
}

void CudaKernels::run(const op::ConvPackForGrad&) {}  // is packed with the rest

void CudaKernels::run(const op::Conv& o) {
  const ConvShape& s = o.s;
  const Packing w(precision_, s.kernel, s.in, s.out);
  multiply(context_, precision_,
           {o.y, o.x, o.packed, o.bias, o.residual, o.scale, false, s.batch * s.height * s.width, s.height, s.width,
            s.in, w.paddedIn, s.out, s.kernel});
}

void CudaKernels::run(const op::ConvDataGrad& o) {
  const ConvShape& s = o.s;
  const Packing w(precision_, s.kernel, s.in, s.out);
  const void* backward = static_cast<const char*>(o.packed) + w.forwardSize() * (w.pairs ? 2 : 4);
  multiply(context_, precision_,
           {o.dx, o.dy, backward, nullptr, nullptr, o.scale, o.accumulate, s.batch * s.height * s.width, s.height,
            s.width, s.out, w.paddedOut, s.in, s.kernel});
}

}  // namespace FEYNKAC_PATH
}  // namespace feynkac
