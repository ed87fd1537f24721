// Packing of a convolution's weights for Hopper.
#include "hopper_kernels.h"
#include "hopper_packing.cuh"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

constexpr int kPackBlock = 256;

template <Precision P>
__global__ void __launch_bounds__(kPackBlock)
    packForHopper(typename WeightSlice<P>::Weight* packed, const float* w, Packing p, size_t forward, size_t total) {
  using S = WeightSlice<P>;
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

}  // namespace

size_t HopperKernels::convPackedBytes(int kernel, int in, int out) {
  return Packing(precision_, kernel, in, out).bytes;
}

void HopperKernels::run(const op::ConvPack& o) {
  const Packing p(precision_, o.kernel, o.in, o.out);
  withPrecision(precision_, [&](auto constant) {
    using Weight = typename WeightSlice<constant()>::Weight;
    const size_t total = p.bytes / sizeof(Weight);
    LAUNCH((packForHopper<constant()>), blocksFor(total, kPackBlock), kPackBlock, 0, context_.stream())
    (static_cast<Weight*>(o.packed), o.w, p, p.forwardBytes / sizeof(Weight), total);
  });
  launched("convPack");
}

}  // namespace FEYNKAC_PATH
}  // namespace feynkac
