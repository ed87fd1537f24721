// The weights of a convolution as its kernels on Hopper read them.
#pragma once

#include <type_traits>

#include "hopper_products.cuh"
#include "kernels/cuda/grids.h"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

// A slice of K is kDepth channels of one tap.
template <Precision P>
struct WeightSlice : HopperSlice<P> {
  using S = HopperSlice<P>;
  using Weight = std::conditional_t<S::kPairs, uint16_t, uint32_t>;
  static constexpr int kEach = 16 / sizeof(Weight);
  static constexpr uint32_t kOctet = S::kParts * S::kPart;  // bytes of 8 columns

  // A thread has four neighbours of each 16 channels, 4 t to 4 t + 3: that is 16 bytes to load. Where products look for K
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
      using S = WeightSlice<constant()>;
      paddedIn = static_cast<int>(cover(in, S::kDepth)) * S::kDepth;
      paddedOut = static_cast<int>(cover(out, S::kDepth)) * S::kDepth;
      forwardBytes = size_t(taps) * (paddedIn / S::kDepth) * cover(out, 8) * S::kOctet;
      bytes = forwardBytes + size_t(taps) * (paddedOut / S::kDepth) * cover(in, 8) * S::kOctet;
    });
  }
  int taps, in, out, paddedIn = 0, paddedOut = 0;
  size_t forwardBytes = 0, bytes = 0;
};

}  // namespace
}  // namespace FEYNKAC_PATH
}  // namespace feynkac
