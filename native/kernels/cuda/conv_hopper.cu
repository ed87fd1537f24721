// The convolution of conv.cu for Hopper (sm_90a): the same implicit product by wgmma, with the weights brought by the TMA.
//
// A block makes 64 rows (output pixels) for each of its warpgroups. A thread loads the channels of its pixels from memory into
// its registers, one slice of K ahead, rounds (or splits) them there and gives them to wgmma as A: images never pass through
// shared memory, of whose bandwidth B alone takes half (a product of 64 rows and 64 columns reads 2 KiB in 32 cycles at the
// full rate of bfloat16). B is the packed weights: a slice of K of any tile of columns is contiguous in them, in the order
// in which wgmma reads it, so that one bulk copy brings it. No barrier of the block is in the loop: warpgroups go
// at their own pace, so that one rounds while the other multiplies.
#include "conv_product.cuh"
#include "gpu_hopper.cuh"
#include "hopper_kernels.h"
#include "paths.h"
#include "products.cuh"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

// A slice of K: kDepth channels of one tap. For each column there are kChunks times 16 bytes of weights, for kFp32 first of
// the TF32 parts and then of what these leave. A product takes two chunks.
template <Precision P>
struct Slice {
  static constexpr bool kPairs = P == Precision::kBf16;
  using Weight = std::conditional_t<kPairs, uint16_t, uint32_t>;
  static constexpr int kDepth = kPairs ? 32 : 16, kParts = P == Precision::kFp32 ? 2 : 1;
  static constexpr int kChunks = 4, kEach = 16 / sizeof(Weight);
  static constexpr uint32_t kBlock = 8 * 16, kOctet = kParts * kChunks * kBlock;  // bytes of a chunk, all, of 8 columns

  // Of each 16 channels a thread has four neighbours, 4 t to 4 t + 3: that is 16 bytes to load. Where products look for K
  // in its registers, chunk c holds its channels 2 c and 2 c + 1 (pairs), or c; the weights follow that order.
  GPU_FN static int channelOf(int chunk, int i) {
    constexpr int kOwn = kEach / 4, kGroup = 4 / kOwn;  // of a thread in a chunk; chunks of 16 channels
    return chunk / kGroup * 16 + i / kOwn * 4 + chunk % kGroup * kOwn + i % kOwn;
  }
};

// Packed weights: [taps][slices][columns / 8, rounded up][parts][chunks][8 columns][16 bytes], forward with the input's
// channels in the slices and then backward, taps reversed, with the output's. Zeros where there are no channels or columns.
struct Packing {
  Packing(Precision precision, int kernel, int in, int out) : taps(kernel * kernel), in(in), out(out) {
    withPrecision(precision, [&](auto constant) {
      using S = Slice<constant()>;
      paddedIn = static_cast<int>(cover(in, S::kDepth)) * S::kDepth;
      paddedOut = static_cast<int>(cover(out, S::kDepth)) * S::kDepth;
      forwardBytes = size_t(taps) * (paddedIn / S::kDepth) * cover(out, 8) * S::kOctet;
      bytes = forwardBytes + size_t(taps) * (paddedOut / S::kDepth) * cover(in, 8) * S::kOctet;
    });
  }
  int taps, in, out, paddedIn = 0, paddedOut = 0;
  size_t forwardBytes = 0, bytes = 0;
};

constexpr int kPackBlock = 256;

template <Precision P>
__global__ void __launch_bounds__(kPackBlock)
    packForHopper(typename Slice<P>::Weight* packed, const float* w, Packing p, size_t forward, size_t total) {
  using S = Slice<P>;
  for (size_t i = size_t(blockIdx.x) * kPackBlock + threadIdx.x; i < total; i += size_t(gridDim.x) * kPackBlock) {
    const bool back = i >= forward;
    const int octets = ((back ? p.in : p.out) + 7) / 8, slices = (back ? p.paddedOut : p.paddedIn) / S::kDepth;
    size_t k = back ? i - forward : i;
    const auto next = [&](int count) {  // the last index of those that are left
      const int index = static_cast<int>(k % count);
      k /= count;
      return index;
    };
    const int each = next(S::kEach), columnInOctet = next(8), chunk = next(S::kChunks), part = next(S::kParts);
    const int column = next(octets) * 8 + columnInOctet;
    const int channel = next(slices) * S::kDepth + S::channelOf(chunk, each), tap = next(p.taps);
    float value = 0;
    if (channel < (back ? p.out : p.in) && column < (back ? p.in : p.out)) {
      const int from = back ? p.taps - 1 - tap : tap, ci = back ? column : channel, co = back ? channel : column;
      value = w[(size_t(from) * p.in + ci) * p.out + co];
    }
    if constexpr (S::kPairs) {
      packed[i] = static_cast<uint16_t>(gpu::toBf16Pair(value, 0.0f));
    } else {
      uint32_t high, low;
      split(__float_as_uint(value), high, low);
      packed[i] = part == 0 ? high : low;
    }
  }
}

constexpr int kStages = 4;

// kVectors: channels are a multiple of 4 and x is aligned.
template <Precision P, int kGroups, int kWide, bool kVectors>
struct HopperConv {
  using S = Slice<P>;
  static constexpr int kRows = 64 * kGroups, kColumns = 64 * kWide, kThreads = 128 * kGroups;
  using Stage = unsigned char[kColumns / 8][S::kOctet];
  static constexpr size_t kShared = kStages * sizeof(Stage);

  // A thread's two pixels, 8 rows apart in the rows of its warp, as fragments have them.
  struct Pixels {
    const float* first;  // the first one's channels of this thread
    uint32_t inside;     // bit 16 h + tap: whether pixel h of that tap is in the image; none where there is no output
  };
  GPU_FN static Pixels pixelsOf(const Product& p, int firstRow) {
    const int lane = threadIdx.x & 31, first = firstRow + (lane >> 2);
    Pixels s = {p.x + static_cast<ptrdiff_t>(first) * p.channels + (lane & 3) * 4, 0};
    const int pad = (p.kernel - 1) / 2;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int m = first + h * 8, x = m % p.width, y = m / p.width % p.height;
      for (int tap = 0; m < p.pixels && tap < p.kernel * p.kernel; ++tap) {
        const int v = y + tap / p.kernel - pad, u = x + tap % p.kernel - pad;
        if (v >= 0 && v < p.height && u >= 0 && u < p.width) s.inside |= 1u << (16 * h + tap);
      }
    }
    return s;
  }

  struct Values {
    float4 v[S::kDepth / 16][2];
  };
  GPU_FN static float4 four(const float* from, int left) {
    if constexpr (kVectors) {
      return left > 0 ? *reinterpret_cast<const float4*>(from) : make_float4(0, 0, 0, 0);
    } else {
      const auto value = [&](int k) { return k < left ? from[k] : 0.0f; };
      return make_float4(value(0), value(1), value(2), value(3));
    }
  }
  GPU_FN static Values load(const Product& p, const Pixels& s, int tap, int channel) {
    const int dy = p.kernel == 3 ? tap / 3 - 1 : 0, dx = p.kernel == 3 ? tap % 3 - 1 : 0;
    const ptrdiff_t moved = static_cast<ptrdiff_t>(dy * p.width + dx) * p.channels + channel;
    const int left = p.channels - channel - static_cast<int>(threadIdx.x & 3) * 4;
    Values values;
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int g = 0; g < S::kDepth / 16; ++g)
        values.v[g][h] = four(s.first + moved + static_cast<ptrdiff_t>(h) * 8 * p.channels + g * 16,
                              s.inside >> (16 * h + tap) & 1 ? left - g * 16 : 0);
    return values;
  }

  struct Fragments {
    uint32_t a[S::kParts][S::kChunks / 2][4];
  };
  GPU_FN static Fragments round(const Values& values) {
    Fragments f;
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int k = 0; k < S::kChunks / 2; ++k) {
        if constexpr (S::kPairs) {
          const float4& v = values.v[k][h];
          f.a[0][k][h] = gpu::toBf16Pair(v.x, v.y);
          f.a[0][k][2 + h] = gpu::toBf16Pair(v.z, v.w);
        } else {
          const float4& v = values.v[0][h];
          const float own[2] = {k == 0 ? v.x : v.z, k == 0 ? v.y : v.w};
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            if constexpr (P == Precision::kFp32)
              split(__float_as_uint(own[i]), f.a[0][k][2 * i + h], f.a[1][k][2 * i + h]);
            else
              f.a[0][k][2 * i + h] = gpu::toTf32(own[i]);
          }
        }
      }
    return f;
  }

  struct Sums {
    float v[kWide][8][4];
  };
  // For kFp32: a b = lo hi + hi lo + hi hi.
  GPU_FN static void multiply(Sums& sums, const Fragments& f, const Stage& stage) {
    const uint64_t weights = gpu::matrixAt(stage, S::kBlock, S::kOctet);
#pragma unroll
    for (int k = 0; k < S::kChunks / 2; ++k)
#pragma unroll
      for (int j = 0; j < kWide; ++j) {
        const uint64_t b = gpu::further(weights, j * 8 * S::kOctet + 2 * k * S::kBlock);
        if constexpr (S::kPairs) {
          gpu::productBf16(sums.v[j], f.a[0][k], b);
        } else {
          if constexpr (P == Precision::kFp32) {
            gpu::productTf32(sums.v[j], f.a[1][k], b);
            gpu::productTf32(sums.v[j], f.a[0][k], gpu::further(b, S::kChunks * S::kBlock));
          }
          gpu::productTf32(sums.v[j], f.a[0][k], b);
        }
      }
  }
  GPU_FN static void pin(Sums& sums) {
#pragma unroll
    for (int j = 0; j < kWide; ++j) gpu::pin(sums.v[j]);
  }
  GPU_FN static void pin(Fragments& f) {
#pragma unroll
    for (int part = 0; part < S::kParts; ++part)
#pragma unroll
      for (int k = 0; k < S::kChunks / 2; ++k) gpu::pin(f.a[part][k]);
  }

  // The stages go round: `filled` ends a phase when a slice of weights is there, `emptied` when all warps are done with it.
  struct Pipeline {
    Stage* stages;
    uint64_t *filled, *emptied;
  };

  // The weights of a step, by one thread. The stage must be empty.
  GPU_FN static void bring(const Pipeline& pipeline, const Product& p, int firstColumn, int step) {
    const int octets = (p.columns + 7) / 8, first = firstColumn / 8, stage = step % kStages;
    const uint32_t bytes = min(octets - first, kColumns / 8) * S::kOctet;
    gpu::arriveExpecting(&pipeline.filled[stage], bytes);
    gpu::copyBulk(&pipeline.stages[stage], static_cast<const char*>(p.w) + (size_t(step) * octets + first) * S::kOctet,
                  bytes, &pipeline.filled[stage]);
  }

  GPU_FN static void work(const Pipeline& pipeline, const Product& p, int firstRow, int firstColumn) {
    const int slices = p.padded / S::kDepth, steps = p.kernel * p.kernel * slices;
    if (threadIdx.x == 0)
      for (int step = 0; step < min(kStages, steps); ++step) bring(pipeline, p, firstColumn, step);
    const int row = firstRow + static_cast<int>(threadIdx.x >> 5) * 16;
    const Pixels pixels = pixelsOf(p, row);
    int tap = 0, slice = 0;  // of the next load; beyond the last tap no pixel is inside
    const auto loadNext = [&] {
      const Values values = load(p, pixels, tap, slice * S::kDepth);
      if (++slice == slices) {
        slice = 0;
        ++tap;
      }
      return values;
    };
    Fragments even = round(loadNext()), odd;
    Values next = loadNext();
    Sums sums = {};
    const auto makeStep = [&](int step, Fragments& now, Fragments& then) {
      const int stage = step % kStages;
      gpu::waitBarrier(&pipeline.filled[stage], step / kStages % 2);
      pin(sums);
      pin(now);
      gpu::beginProducts();
      multiply(sums, now, pipeline.stages[stage]);
      gpu::commitProducts();
      // meanwhile:
      then = round(next);
      next = loadNext();
      if (threadIdx.x == 0 && step > 0 && step - 1 + kStages < steps) {
        gpu::waitBarrier(&pipeline.emptied[(step - 1) % kStages], (step - 1) / kStages % 2);
        bring(pipeline, p, firstColumn, step - 1 + kStages);
      }
      pin(then);
      gpu::waitProducts();
      pin(sums);
      if (threadIdx.x % 32 == 0) gpu::arrive(&pipeline.emptied[stage]);
    };
    for (int step = 0;; step += 2) {
      makeStep(step, even, odd);
      if (step + 1 == steps) break;
      makeStep(step + 1, odd, even);
      if (step + 2 == steps) break;
    }
#pragma unroll
    for (int j = 0; j < kWide; ++j) store(p, sums.v[j], row, firstColumn + j * 64);
  }
};

template <class K>
__global__ void __launch_bounds__(K::kThreads, K::kColumns == 128 ? 2 : 1)
    convolveOnHopper(const __grid_constant__ Product p) {
  if constexpr (gpu::kHopper) {
    DYN_SHARED(typename K::Stage, stages);
    SHARED(uint64_t, filled, [kStages]);
    SHARED(uint64_t, emptied, [kStages]);
    if (threadIdx.x == 0) {
      for (int i = 0; i < kStages; ++i) {
        gpu::initBarrier(&filled[i], 1);
        gpu::initBarrier(&emptied[i], K::kThreads / 32);
      }
      gpu::publishBarriers();
    }
    __syncthreads();
    // Neighbours in the grid share rows of the image, so that these come from the cache.
    const int columnTiles = (p.columns + K::kColumns - 1) / K::kColumns;
    const int firstRow = static_cast<int>(blockIdx.x) / columnTiles * K::kRows,
              firstColumn = static_cast<int>(blockIdx.x) % columnTiles * K::kColumns;
    K::work({stages, filled, emptied}, p, firstRow, firstColumn);
  }
}

template <class K>
void launchOnHopper(cudaStream_t stream, const Product& p) {
  static const cudaError_t allowed = cudaFuncSetAttribute(
      convolveOnHopper<K>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(K::kShared));
  check(allowed, "choosing the shared memory of a convolution");
  const unsigned blocks = cover(p.pixels, K::kRows) * cover(p.columns, K::kColumns);
  LAUNCH((convolveOnHopper<K>), blocks, K::kThreads, K::kShared, stream)(p);
  launched("convolution");
}

// The largest tile that leaves no multiprocessor without one and pads no more columns than a smaller one would; each
// output is the same sum in all.
void multiplyOnHopper(Context& context, Precision precision, const Product& p) {
  cudaStream_t stream = context.stream();
  const bool vectors = p.channels % 4 == 0 && aligned16(p.x);
  const auto enough = [&](int columns) {
    return size_t(cover(p.pixels, 128)) * cover(p.columns, columns) >= size_t(context.multiprocessors());
  };
  withPrecision(precision, [&](auto constant) {
    constexpr Precision P = constant();
    if (!vectors)
      launchOnHopper<HopperConv<P, 1, 1, false>>(stream, p);
    else if (enough(256) && cover(p.columns, 128) % 2 == 0)
      launchOnHopper<HopperConv<P, 2, 4, true>>(stream, p);
    else if (enough(128) && p.columns > 64)
      launchOnHopper<HopperConv<P, 2, 2, true>>(stream, p);
    else
      launchOnHopper<HopperConv<P, 1, 1, true>>(stream, p);
  });
}

}  // namespace

size_t HopperKernels::convPackedBytes(int kernel, int in, int out) {
  return Packing(precision_, kernel, in, out).bytes;
}

void HopperKernels::convPack(void* packed, const float* w, int kernel, int in, int out) {
  const Packing p(precision_, kernel, in, out);
  withPrecision(precision_, [&](auto constant) {
    using Weight = typename Slice<constant()>::Weight;
    const size_t total = p.bytes / sizeof(Weight);
    LAUNCH((packForHopper<constant()>), blocksFor(total, kPackBlock), kPackBlock, 0, context_.stream())
    (static_cast<Weight*>(packed), w, p, p.forwardBytes / sizeof(Weight), total);
  });
  launched("convPack");
}

void HopperKernels::conv(float* y, const float* x, const void* packed, const float* bias, const float* residual,
                         float scale, const ConvShape& s) {
  const Packing w(precision_, s.kernel, s.in, s.out);
  multiplyOnHopper(context_, precision_,
                   {y, x, packed, bias, residual, scale, false, s.batch * s.height * s.width, s.height, s.width, s.in,
                    w.paddedIn, s.out, s.kernel});
}

void HopperKernels::convDataGrad(float* dx, const float* dy, const void* packed, float scale, bool accumulate,
                                 const ConvShape& s) {
  const Packing w(precision_, s.kernel, s.in, s.out);
  multiplyOnHopper(context_, precision_,
                   {dx, dy, static_cast<const char*>(packed) + w.forwardBytes, nullptr, nullptr, scale, accumulate,
                    s.batch * s.height * s.width, s.height, s.width, s.out, w.paddedOut, s.in, s.kernel});
}

}  // namespace FEYNKAC_PATH

namespace hopper {

// Where the code that the device has loaded was not compiled for sm_90a, kernels are empty: without the registers of their sums.
bool offered(int device) {
  int major = 0, minor = 0;
  check(cudaSetDevice(device), "choosing the device");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "asking for the device");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "asking for the device");
  if (major != 9 || minor != 0) return false;
  using K = FEYNKAC_PATH::HopperConv<Precision::kFp32, 2, 2, true>;
  cudaFuncAttributes kernel;
  check(cudaFuncGetAttributes(&kernel, FEYNKAC_PATH::convolveOnHopper<K>), "asking for a kernel");
  return kernel.numRegs > static_cast<int>(sizeof(K::Sums) / sizeof(float));
}

Kernels* makeKernels(int device, Precision precision) { return new FEYNKAC_PATH::HopperKernels(device, precision); }

}  // namespace hopper
}  // namespace feynkac
