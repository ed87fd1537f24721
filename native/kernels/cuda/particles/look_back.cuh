// The sums before tiles in one pass over them (decoupled look-back, Merrill and Garland 2016): a block publishes its tile's
// sum, adds up what the tiles before have published, back to the nearest that knows the sum up to its end, and publishes the
// sum up to its own. Blocks take their tiles from a ticket, so whatever a block waits for is running already.
//
// A tile's word holds a state above a sum of 62 bits. One access hands over both, and nothing but the word is handed over:
// no order between accesses is needed (an acquire would empty the L1 cache of the weights that others are reading).
#pragma once

#include "kernels/cuda/reduce.cuh"

namespace feynkac {
namespace {

constexpr uint64_t kSumOfTile = uint64_t(1) << 62, kSumUpToTile = uint64_t(2) << 62;  // 0: nothing is known yet
constexpr uint64_t kMostSum = kSumOfTile - 1;

GPU_FN uint64_t sumIn(uint64_t word) { return word & kMostSum; }

// Sums stop here instead of running over: min(a + b, most) depends on the order as little as a + b does.
GPU_FN uint64_t cappedSum(uint64_t a, uint64_t b) { return min(a + b, kMostSum); }

// The sum before the tile. By one whole warp of its block; words are 0 before the first tile.
GPU_FN uint64_t lookBack(uint64_t* words, unsigned tile, uint64_t sum) {
  const unsigned lane = threadIdx.x & 31;
  if (lane == 0 && tile > 0) gpu::storeWord(words + tile, kSumOfTile | sum);
  uint64_t before = 0;
  for (unsigned end = tile; end > 0;) {
    uint64_t word = kSumUpToTile;  // of tile end - 1 - lane; before the first one the sum is 0
    unsigned known, needed;
    for (;;) {
      if (lane < end) word = gpu::loadWord(words + (end - 1 - lane));
      known = __ballot_sync(gpu::kFull, word >= kSumUpToTile);
      needed = known ^ (known - 1);  // the lanes up to the first that is known; all where none is
      if ((__ballot_sync(gpu::kFull, word < kSumOfTile) & needed) == 0) break;
      __nanosleep(32);
    }
    uint64_t v = needed >> lane & 1 ? sumIn(word) : 0;
#pragma unroll
    for (int offset = 16; offset > 0; offset >>= 1) v = cappedSum(v, __shfl_xor_sync(gpu::kFull, v, offset));
    before = cappedSum(before, v);
    end = known != 0 ? 0 : end - 32;
  }
  if (lane == 0) gpu::storeWord(words + tile, kSumUpToTile | cappedSum(before, sum));
  return before;
}

}  // namespace
}  // namespace feynkac
