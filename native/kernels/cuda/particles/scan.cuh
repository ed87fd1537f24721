// Prefix sums of whole numbers: exact, so the same whatever the order, and never decreasing. Two levels: sums of tiles of
// kTile values, a scan of those by one block, and prefix sums inside each tile by whoever needs them.
#pragma once

#include "kernels/cuda/reduce.cuh"

namespace feynkac {
namespace {

constexpr int kScanEach = 8;  // values of a thread
constexpr int kScanBlock = 256;
constexpr unsigned kTile = kScanBlock * kScanEach;

// Value i of a tile in shared memory: a gap after each thread's values keeps threads that read theirs in different banks.
GPU_FN unsigned inTile(unsigned i) { return i + i / kScanEach; }
template <unsigned kValues>
constexpr unsigned kTileRoom = kValues + kValues / kScanEach;

using Wide = unsigned __int128;

GPU_FN uint32_t fromLeft(uint32_t v, unsigned by) { return __shfl_up_sync(gpu::kFull, v, by); }
GPU_FN uint64_t fromLeft(uint64_t v, unsigned by) { return __shfl_up_sync(gpu::kFull, v, by); }
GPU_FN Wide fromLeft(Wide v, unsigned by) {
  const uint64_t high = fromLeft(static_cast<uint64_t>(v >> 64), by);
  return Wide(high) << 64 | fromLeft(static_cast<uint64_t>(v), by);
}

struct Plus {
  template <class T>
  GPU_FN T operator()(T a, T b) const {
    return a + b;
  }
};
struct Most {
  template <class T>
  GPU_FN T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};

// What the threads before this one hold, combined; `all` becomes what all of them hold. 0 combined with x must be x. One
// barrier inside, and one is needed before the next call.
template <int kBlock, class T, class Combine>
GPU_FN T blockScan(T own, T& all, const Combine& combine) {
  SHARED(T, warps, [kBlock / 32]);
  const unsigned lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  T upTo = own;
#pragma unroll
  for (unsigned by = 1; by < 32; by *= 2) {
    const T left = fromLeft(upTo, by);
    if (lane >= by) upTo = combine(left, upTo);
  }
  if (lane == 31) warps[warp] = upTo;
  const T left = fromLeft(upTo, 1);
  __syncthreads();
  T before = 0;
  all = 0;
#pragma unroll
  for (unsigned w = 0; w < kBlock / 32; ++w) {
    if (w == warp) before = all;
    all = combine(all, warps[w]);
  }
  return lane > 0 ? combine(before, left) : before;
}

// c, filled by all threads (inTile), becomes its inclusive prefix sums plus `before`. Returns the sum of c; barriers
// inside, before and after.
template <int kBlock>
GPU_FN uint64_t scanTile(uint64_t* c, uint64_t before) {
  __syncthreads();
  const unsigned base = threadIdx.x * (kScanEach + 1);
  uint64_t own[kScanEach], sum = 0, total;
#pragma unroll
  for (int k = 0; k < kScanEach; ++k) own[k] = sum += c[base + k];
  const uint64_t start = before + blockScan<kBlock>(sum, total, Plus());
#pragma unroll
  for (int k = 0; k < kScanEach; ++k) c[base + k] = start + own[k];
  __syncthreads();
  return total;
}

// Fills c with the amounts of a tile, zero behind the end.
template <class Amount>
GPU_FN void fillTile(uint64_t* c, const Amount& amount, size_t first, size_t n) {
#pragma unroll
  for (unsigned k = 0; k < kScanEach; ++k) {
    const unsigned i = k * kScanBlock + threadIdx.x;
    c[inTile(i)] = first + i < n ? amount(first + i) : 0;
  }
}

// tiles[t] = the sum of tile t's amounts
template <class Amount>
__global__ void __launch_bounds__(kScanBlock) sumTiles(uint64_t* tiles, Amount amount, size_t n) {
  const size_t first = size_t(blockIdx.x) * kTile;
  uint64_t sum = 0;
#pragma unroll
  for (unsigned k = 0; k < kScanEach; ++k) {
    const size_t i = first + k * kScanBlock + threadIdx.x;
    if (i < n) sum += amount(i);
  }
  sum = blockSum<kScanBlock>(sum);
  if (threadIdx.x == 0) tiles[blockIdx.x] = sum;
}

constexpr int kTopBlock = 512;

// tiles[t] becomes the sum before tile t, tiles[count] the sum of all. One block.
__global__ void __launch_bounds__(kTopBlock) scanTiles(uint64_t* tiles, unsigned count) {
  constexpr unsigned kPart = kTopBlock * kScanEach;
  SHARED(uint64_t, c, [kTileRoom<kPart>]);
  uint64_t before = 0;
  for (unsigned first = 0; first < count; first += kPart) {
    for (unsigned i = threadIdx.x; i < kPart; i += kTopBlock) c[inTile(i)] = i < count - first ? tiles[first + i] : 0;
    const uint64_t sum = scanTile<kTopBlock>(c, before);
    for (unsigned i = threadIdx.x; i < kPart && i < count - first; i += kTopBlock)
      tiles[first + i] = i == 0 ? before : c[inTile(i - 1)];
    before += sum;
    __syncthreads();
  }
  if (threadIdx.x == 0) tiles[count] = before;
}

// out[i] = the sum of the amounts up to and with i
template <class Amount>
__global__ void __launch_bounds__(kScanBlock) sumUpTo(uint64_t* out, const uint64_t* tiles, Amount amount, size_t n) {
  SHARED(uint64_t, c, [kTileRoom<kTile>]);
  const size_t first = size_t(blockIdx.x) * kTile;
  fillTile(c, amount, first, n);
  scanTile<kScanBlock>(c, tiles[blockIdx.x]);
  for (unsigned i = threadIdx.x; i < kTile && first + i < n; i += kScanBlock) out[first + i] = c[inTile(i)];
}

}  // namespace
}  // namespace feynkac
