// The convolution of conv.cu for Hopper (sm_90a): the same implicit product by wgmma, with the weights brought by the TMA.
//
// A block makes 64 rows (output pixels) for each of its warpgroups. A thread loads the channels of its pixels from memory into
// its registers, one slice of K ahead, rounds (or splits) them there and gives them to wgmma as A: images never pass through
// shared memory, of whose bandwidth B alone takes half (a product of 64 rows and 64 columns reads 2 KiB in 32 cycles at the
// full rate of bfloat16). B is the packed weights: a slice of K of any tile of columns is contiguous in them, in the order
// in which wgmma reads it, so that one bulk copy brings it. No barrier of the block is in the loop: warpgroups go
// at their own pace, so that one rounds while the other multiplies.
#include "hopper_kernels.h"
#include "hopper_packing.cuh"
#include "kernels/cuda/network/conv_product.cuh"
#include "kernels/cuda/paths.h"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

constexpr int kStages = 4;

// kVectors: channels are a multiple of 4 and x is aligned.
template <Precision P, int kGroups, int kWide, bool kVectors>
struct HopperConv {
  using S = WeightSlice<P>;
  using Fragments = typename S::Fragments;
  using Sums = typename S::template Sums<kWide>;
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

  GPU_FN static Fragments round(const Values& values) {
    Fragments f;
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        if constexpr (S::kPairs) {
          const float4& v = values.v[k][h];
          f.setPair(k, h, v.x, v.y);
          f.setPair(k, 2 + h, v.z, v.w);
        } else {
          const float4& v = values.v[0][h];
          f.set(k, h, k == 0 ? v.x : v.z);
          f.set(k, 2 + h, k == 0 ? v.y : v.w);
        }
      }
    return f;
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
      sums.pin();
      now.pin();
      gpu::beginProducts();
      sums.add(now, pipeline.stages[stage], S::kOctet);
      gpu::commitProducts();
      // meanwhile:
      then = round(next);
      next = loadNext();
      if (threadIdx.x == 0 && step > 0 && step - 1 + kStages < steps) {
        gpu::waitBarrier(&pipeline.emptied[(step - 1) % kStages], (step - 1) / kStages % 2);
        bring(pipeline, p, firstColumn, step - 1 + kStages);
      }
      then.pin();
      gpu::waitProducts();
      sums.keep();
      if (threadIdx.x % 32 == 0) gpu::arrive(&pipeline.emptied[stage]);
    };
    for (int step = 0;; step += 2) {
      makeStep(step, even, odd);
      if (step + 1 == steps) break;
      makeStep(step + 1, odd, even);
      if (step + 2 == steps) break;
    }
#pragma unroll
    for (int j = 0; j < kWide; ++j) store(p, sums.of(j), row, firstColumn + j * 64);
  }
};

template <class K>
__global__ void __launch_bounds__(K::kThreads, K::kColumns == 128 ? K::S::kBlocks : 1)
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
  allowShared(convolveOnHopper<K>, K::kShared);
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
    constexpr int kWidest = P == Precision::kFp32 ? 2 : 4;  // for its sums take twice the registers
    if (!vectors)
      launchOnHopper<HopperConv<P, 1, 1, false>>(stream, p);
    else if (enough(256) && cover(p.columns, 128) % 2 == 0)
      launchOnHopper<HopperConv<P, 2, kWidest, true>>(stream, p);
    else if (enough(128) && p.columns > 64)
      launchOnHopper<HopperConv<P, 2, 2, true>>(stream, p);
    else
      launchOnHopper<HopperConv<P, 1, 1, true>>(stream, p);
  });
}

}  // namespace

void HopperKernels::run(const op::Conv& o) {
  const ConvShape& s = o.s;
  const Packing w(precision_, s.kernel, s.in, s.out);
  multiplyOnHopper(context_, precision_,
                   {o.y, o.x, o.packed, o.bias, o.residual, o.scale, false, s.batch * s.height * s.width, s.height,
                    s.width, s.in, w.paddedIn, s.out, s.kernel});
}

void HopperKernels::run(const op::ConvDataGrad& o) {
  const ConvShape& s = o.s;
  const Packing w(precision_, s.kernel, s.in, s.out);
  multiplyOnHopper(context_, precision_,
                   {o.dx, o.dy, static_cast<const char*>(o.packed) + w.forwardBytes, nullptr, nullptr, o.scale,
                    o.accumulate, s.batch * s.height * s.width, s.height, s.width, s.out, w.paddedOut, s.in, s.kernel});
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
