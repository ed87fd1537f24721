// The weight gradient of conv_weight_grad.cu for Hopper (sm_90a): the same sums by wgmma.
//
// A block makes 128 x 128 outputs of one tap, each of its two warpgroups 64 rows (input channels). A thread loads its pixels of
// x, one slice ahead, as A into its registers, two neighbouring channels at a time: they are the rows g and g + 8 of its
// warp. dy is B: loaded alike, and turned into columns with K along them on its way to shared memory.
#include "hopper_kernels.h"
#include "hopper_products.cuh"
#include "kernels/cuda/network/conv_sum.cuh"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

constexpr int kSide = 128, kThreads = 256;

template <Precision P>
struct HopperWeightGrad : HopperSlice<P> {
  using S = HopperSlice<P>;
  using Fragments = typename S::Fragments;
  using Sums = typename S::template Sums<kSide / 64>;
  static constexpr int kDepth = S::kDepth;  // pixels
  // A pad of 16 bytes lets 4 octets, the two halves of one and the two halves of 16 bytes that a half-warp writes meet different
  // banks.
  static constexpr uint32_t kOctet = S::kParts * S::kPart + 16;
  using Stage = unsigned char[kSide / 8][kOctet];

  GPU_FN static const ConvGradTerm& termOf(const Sum& s, int step) {  // any one for the step after the last
    return step < s.stepsPerTerm || s.nTerms == 1 ? s.terms[0] : s.terms[1];
  }

  // x at this thread's pixels, those that its registers of A are for: firstPixel() and these.
  struct Rows {
    float2 v[kDepth / 4];
  };
  GPU_FN static int firstPixel() { return (threadIdx.x & 3) * (S::kPairs ? 2 : 1); }
  GPU_FN static constexpr int pixelAfter(int i) {
    return S::kPairs ? i / 4 * 16 + i / 2 % 2 * 8 + i % 2 : i / 2 * 8 + i % 2 * 4;
  }
  GPU_FN static Rows loadRows(const Sum& s, const Share& share, int step) {
    const ConvGradTerm& term = termOf(s, step);
    const int first = step % s.stepsPerTerm * kDepth;
    const int pad = (s.kernel - 1) / 2, v = share.tap / s.kernel - pad, u = share.tap % s.kernel - pad;
    // each lane looks where one pixel of the slice is, for all
    const int pixel = first + static_cast<int>(threadIdx.x) % kDepth;
    const int y = pixel / s.width % s.height + v, x = pixel % s.width + u;
    const bool inside = step < share.end && pixel < s.pixels && y >= 0 && y < s.height && x >= 0 && x < s.width;
    const int channel =
        share.firstRow + static_cast<int>(threadIdx.x >> 5) * 16 + static_cast<int>(threadIdx.x >> 2 & 7) * 2;
    const unsigned all = __ballot_sync(gpu::kFull, inside), mine = channel < s.in ? all >> firstPixel() : 0;
    const float* from = term.x + static_cast<ptrdiff_t>(first) * s.in;
    const int own = (v * s.width + u + firstPixel()) * s.in + channel;
    Rows rows;
#pragma unroll
    for (int i = 0; i < kDepth / 4; ++i)
      rows.v[i] = mine >> pixelAfter(i) & 1 ? *reinterpret_cast<const float2*>(from + (own + pixelAfter(i) * s.in))
                                            : make_float2(0, 0);
    return rows;
  }

  GPU_FN static Fragments round(const Rows& rows) {
    Fragments f;
#pragma unroll
    for (int k = 0; k < 2; ++k)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if constexpr (S::kPairs) {
          const float2 &v = rows.v[4 * k + 2 * half], &w = rows.v[4 * k + 2 * half + 1];
          f.setPair(k, 2 * half, v.x, w.x);
          f.setPair(k, 2 * half + 1, v.y, w.y);
        } else {
          const float2& v = rows.v[2 * k + half];
          f.set(k, 2 * half, v.x);
          f.set(k, 2 * half + 1, v.y);
        }
      }
    return f;
  }

  // dy: each thread has four columns of an eighth of the slice, half of a chunk.
  struct Columns {
    float4 v[kDepth / 8];
  };
  GPU_FN static int quad() { return (threadIdx.x & 7) | (threadIdx.x >> 1 & 8) | (threadIdx.x >> 1 & 16); }
  GPU_FN static int eighth() { return (threadIdx.x >> 3 & 1) | (threadIdx.x >> 5 & 6); }
  GPU_FN static Columns loadColumns(const Sum& s, const Share& share, int step) {
    const ConvGradTerm& term = termOf(s, step);
    const int first = step % s.stepsPerTerm * kDepth + eighth() * (kDepth / 8),
              channel = share.firstColumn + quad() * 4;
    const float* from = term.dy + static_cast<ptrdiff_t>(first) * s.outChannels;
    Columns columns;
#pragma unroll
    for (int i = 0; i < kDepth / 8; ++i)
      columns.v[i] = step < share.end && first + i < s.pixels && channel < s.outChannels
                         ? *reinterpret_cast<const float4*>(from + (channel + i * s.outChannels))
                         : make_float4(0, 0, 0, 0);
    return columns;
  }
  GPU_FN static void put(Stage& stage, const Columns& columns) {
    unsigned char* to = &stage[quad() / 2][eighth() / 2 * S::kBlock + quad() % 2 * 64 + eighth() % 2 * 8];
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const auto value = [&](int i) {
        const float4& v = columns.v[i];
        return c == 0 ? v.x : c == 1 ? v.y : c == 2 ? v.z : v.w;
      };
      uint2 high, low;
      if constexpr (S::kPairs) {
        high = {gpu::toBf16Pair(value(0), value(1)), gpu::toBf16Pair(value(2), value(3))};
      } else {
        split(__float_as_uint(value(0)), high.x, low.x);
        split(__float_as_uint(value(1)), high.y, low.y);
      }
      *reinterpret_cast<uint2*>(to + c * 16) = high;
      if constexpr (P == Precision::kFp32) *reinterpret_cast<uint2*>(to + S::kPart + c * 16) = low;
    }
  }

  GPU_FN static void work(Stage* stages, const Sum& s) {
    const Share share(s, kSide, kSide);
    Rows rows = loadRows(s, share, share.begin);
    Columns columns = loadColumns(s, share, share.begin);
    Sums sums = {};
    for (int step = share.begin; step < share.end; ++step) {
      Stage& stage = stages[(step - share.begin) % 2];
      put(stage, columns);
      columns = loadColumns(s, share, step + 1);
      Fragments f = round(rows);
      rows = loadRows(s, share, step + 1);
      gpu::publishShared();
      __syncthreads();  // the columns are here for all, and all are done with the stage that is written next
      sums.pin();
      f.pin();
      gpu::beginProducts();
      sums.add(f, stage, kOctet);
      gpu::commitProducts();
      gpu::waitProducts();
      sums.keep();
    }
    const int lane = threadIdx.x & 31, row = static_cast<int>(threadIdx.x >> 5) * 16 + (lane >> 2) * 2;
#pragma unroll
    for (int j = 0; j < kSide / 64; ++j)
#pragma unroll
      for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          share.put(s, row + (e >> 1), j * 64 + i * 8 + (lane & 3) * 2 + (e & 1), sums.of(j)[i][e]);
  }
};

template <class K>
__global__ void __launch_bounds__(kThreads, K::S::kBlocks) sumOuterOnHopper(const __grid_constant__ Sum s) {
  if constexpr (gpu::kHopper) {
    DYN_SHARED(typename K::Stage, stages);
    K::work(stages, s);
  }
}

}  // namespace

// Channels that fill less than half of a tile, or do not come in vectors, go the general way.
void HopperKernels::run(const op::ConvWeightGrad& o) {
  const ConvShape& s = o.s;
  if (s.in <= kSide / 2 || s.out <= kSide / 2 || !inVectors(o.terms, o.nTerms, s)) return CudaKernels::run(o);
  forEachSum(o.terms, o.nTerms, o.scale, s, [&](const Sum& sum) {
    withPrecision(precision_, [&](auto constant) {
      using K = HopperWeightGrad<constant()>;
      launchShares(context_, o.dw, sum, kSide, kSide, K::kDepth, [&](const Sum& split, unsigned blocks) {
        LAUNCH((sumOuterOnHopper<K>), blocks, kThreads, 2 * sizeof(typename K::Stage), context_.stream())(split);
      });
    });
  });
}

}  // namespace FEYNKAC_PATH
}  // namespace feynkac
