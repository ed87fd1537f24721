// Systematic and stratified resampling in one pass over normalised weights. A block reads its tile of weights once, learns
// the sum before it from the blocks before (look_back.cuh), and counts the points below the end of each weight: those between
// the ends of two neighbours have the second one as their ancestor. Traffic: 8 bytes read and 4 written a particle.
//
// Sums are exact in units of 2^-92 inside a tile and rounded down to units of 2^-61 between tiles and when they meet points:
// functions of the weights alone, not of the order of blocks, and they grow only where there is weight. Points are those of
// the host (kernels/cpu/runtime/resampling.cpp), rounding included, measured against a sum of 1. Rounding may leave points at or above the
// sum; a second, mostly idle launch gives them to the last particle at which it grows, and writes what crowded tiles left.
#pragma once

#include "cuda_particles.h"
#include "look_back.cuh"
#include "resampling.cuh"

namespace feynkac {
namespace {

// ---- points: uniform number u in step i of n, at (u + i) / n ------------------------------------------------------------

GPU_FN uint64_t pointAt(double u, uint64_t i, uint32_t n) {
  return units((u + static_cast<double>(i)) / static_cast<double>(n) * kUnit);
}

// floor((c n + gap) 2^-61), the number of a step, without a division. Where rounding of points, below n 2^-52 steps, could
// decide otherwise (`close`) it is the nearest whole number instead.
struct Step {
  uint64_t i;
  bool close;
};
GPU_FN Step stepAt(uint64_t c, uint64_t gap, uint32_t n) {
  const uint64_t margin = uint64_t(n) << 10;
  const Wide x = Wide(c) * n + gap + margin;
  return {static_cast<uint64_t>(x >> 61), (static_cast<uint64_t>(x) & (kOne - 1)) < 2 * margin};
}

// below(c) = how many points lie below c units; never decreasing in c, whatever the uniforms are.
struct SystematicPoints {
  uint32_t n;
  const double* given;
  double u;      // where it is not given
  uint64_t gap;  // 1 - u in units
  SystematicPoints(const Uniforms& uniforms, size_t points)
      : n(static_cast<uint32_t>(points)),
        given(uniforms.areGiven ? uniforms.values : nullptr),
        u(uniforms.areGiven ? 0 : resamplingUniform(uniforms.seed, uniforms.step, 0)),
        gap(0) {}
  GPU_FN void prepare() {
    if (given != nullptr) u = *given;
    gap = kOne - min(units(u * kUnit), kOne);
  }
  GPU_FN uint32_t below(uint64_t c) const {
    const Step step = stepAt(c, gap, n);  // i < c n - u holds for floor(c n + 1 - u) numbers i, but for equality
    const bool oneLess = step.close && step.i > 0 && pointAt(u, step.i - 1, n) >= c;
    return static_cast<uint32_t>(min(step.i - oneLess, uint64_t(n)));
  }
};

struct StratifiedPoints {
  uint32_t n;
  Numbers u;
  StratifiedPoints(const Uniforms& uniforms, size_t points) : n(static_cast<uint32_t>(points)), u(uniforms) {}
  GPU_FN void prepare() {}
  GPU_FN uint32_t below(uint64_t c) const {
    const Step step = stepAt(c, 0, n);
    if (step.i > n) return n;
    const uint32_t i = static_cast<uint32_t>(step.i);
    if (step.close && i > 0 && pointAt(u(i - 1), i - 1, n) >= c) return i - 1;
    return i < n && pointAt(u(i), i, n) < c ? i + 1 : i;
  }
};

// ---- a tile -----------------------------------------------------------------------------------------------------------

constexpr int kFine = 31;  // bits of a unit that sums inside a tile keep

// A weight in units of 2^-92, by its bits, as float64 arithmetic is slow on most devices. What normalised weights cannot
// have, NaN or negative or from 2 on, is 2: the sum shows it.
GPU_FN Wide fineUnits(double w) {
  const uint64_t bits = static_cast<uint64_t>(__double_as_longlong(w));  // ordered as the numbers from 0 on are
  if (bits << 1 == 0) return 0;                                          // -0
  if (bits >= uint64_t(1024) << 52) return Wide(2 * kOne) << kFine;
  const uint64_t exponent = bits >> 52, digits = (bits & ((uint64_t(1) << 52) - 1)) | uint64_t(1) << 52;
  return Wide(digits) << 40 >> min(1023 - exponent, uint64_t(127));
}

struct Pass {
  Weights weights;
  size_t count;
  bool aligned;  // to 16 bytes
  uint64_t* words;
  uint32_t* ticket;
  MorePoints more;
};

GPU_FN uint64_t cappedUnits(Wide fine) {
  const Wide sum = fine >> kFine;
  return sum < kMostSum ? static_cast<uint64_t>(sum) : kMostSum;
}

struct TileSums {
  uint64_t before, upTo[kScanEach], total;  // of the tile's weights: before this thread's, up to each of them, of all
};
// A thread's weights are neighbours, 64 bytes: what its first load leaves of a sector comes from the L1 cache.
GPU_FN TileSums sumsOf(const Pass& pass, unsigned tile) {
  const size_t first = size_t(tile) * kTile + threadIdx.x * kScanEach;
  const double* from = pass.weights.w + first;
  double v[kScanEach];
  if (pass.aligned && first + kScanEach <= pass.count) {
#pragma unroll
    for (int k = 0; k < kScanEach; k += 2) {
      const double2 two = *reinterpret_cast<const double2*>(from + k);
      v[k] = two.x;
      v[k + 1] = two.y;
    }
  } else {
#pragma unroll
    for (unsigned k = 0; k < kScanEach; ++k) v[k] = first + k < pass.count ? from[k] : 0;
  }
  if (pass.weights.sum > 0) {
#pragma unroll
    for (double& w : v) w /= pass.weights.sum;
  }
  constexpr uint32_t kFraction = (uint32_t(1) << kFine) - 1;
  Wide sum = 0, total;
  TileSums s;
  uint32_t fraction[kScanEach];
#pragma unroll
  for (int k = 0; k < kScanEach; ++k) {
    sum += fineUnits(v[k]);
    s.upTo[k] = cappedUnits(sum);
    fraction[k] = static_cast<uint32_t>(sum) & kFraction;
  }
  const Wide before = blockScan<kScanBlock>(sum, total, Plus());
  s.before = cappedUnits(before);
  s.total = cappedUnits(total);
#pragma unroll
  for (int k = 0; k < kScanEach; ++k) {
    const uint64_t carry = (fraction[k] + (static_cast<uint32_t>(before) & kFraction)) >> kFine;
    s.upTo[k] = cappedSum(s.before, s.upTo[k] + carry);
  }
  return s;
}

// The points of this thread's weights, end[k - 1] .. end[k], from `begin` on; and those of the tile, first .. last.
struct Runs {
  uint32_t begin, end[kScanEach], first, last;
};
template <class Points>
GPU_FN Runs runsOf(const TileSums& s, uint64_t before, const Points& points) {
  SHARED(uint32_t, range, [2]);
  Runs runs;
  runs.begin = points.below(cappedSum(before, s.before));
#pragma unroll
  for (int k = 0; k < kScanEach; ++k) runs.end[k] = points.below(cappedSum(before, s.upTo[k]));
  if (threadIdx.x == 0) range[0] = runs.begin;
  if (threadIdx.x == kScanBlock - 1) range[1] = runs.end[kScanEach - 1];
  __syncthreads();
  runs.first = range[0];
  runs.last = range[1];
  return runs;
}

// Ancestors of the tile's points from .. end, kRound at a time: each run's beginning gets its weight's number, and every point
// the largest number up to it. An odd number of values to a thread keeps threads in different banks.
GPU_FN void writeRuns(int32_t* a, const Runs& runs, unsigned tile, uint32_t from, uint32_t end) {
  constexpr unsigned kEach = kRound / kScanBlock;
  SHARED(uint32_t, numbers, [kRound]);
  for (; from < end; from += kRound) {
#pragma unroll
    for (unsigned k = 0; k < kEach; ++k) numbers[k * kScanBlock + threadIdx.x] = 0;
    __syncthreads();
    uint32_t begin = runs.begin;
#pragma unroll
    for (unsigned k = 0; k < kScanEach; ++k) {
      const uint32_t at = max(begin, from);
      if (at < runs.end[k] && at - from < kRound) numbers[at - from] = threadIdx.x * kScanEach + k;
      begin = runs.end[k];
    }
    __syncthreads();
    uint32_t own[kEach], most = 0, all;
#pragma unroll
    for (unsigned k = 0; k < kEach; ++k) own[k] = most = max(most, numbers[threadIdx.x * kEach + k]);
    const uint32_t before = blockScan<kScanBlock>(most, all, Most());
#pragma unroll
    for (unsigned k = 0; k < kEach; ++k) numbers[threadIdx.x * kEach + k] = max(before, own[k]);
    __syncthreads();
#pragma unroll
    for (unsigned k = 0; k < kEach; ++k) {
      const uint32_t i = k * kScanBlock + threadIdx.x;
      if (i < end - from) a[size_t(from) + i] = static_cast<int32_t>(tile * kTile + numbers[i]);
    }
    __syncthreads();
  }
}

// ---- kernels ----------------------------------------------------------------------------------------------------------

template <class Points>
__global__ void __launch_bounds__(kScanBlock, 4) resampleTiles(int32_t* a, Pass pass, Points points) {
  SHARED(unsigned, ticket, [1]);
  SHARED(uint64_t, before, [1]);
  points.prepare();
  if (threadIdx.x == 0) ticket[0] = atomicAdd(pass.ticket, 1u);
  __syncthreads();
  const unsigned tile = ticket[0];
  const TileSums sums = sumsOf(pass, tile);
  if (threadIdx.x < 32) {
    const uint64_t sum = lookBack(pass.words, tile, sums.total);
    if (threadIdx.x == 0) before[0] = sum;
  }
  __syncthreads();
  const Runs runs = runsOf(sums, before[0], points);
  writeRuns(a, runs, tile, runs.first, min(runs.last, runs.first + kPointsOfBlock));
  leaveRest(pass.more, tile, runs.last - runs.first);
}

// Points that the pass left, unless it was in vain: pieces of crowded tiles, and those at or above the sum.
template <class Points>
__global__ void __launch_bounds__(kScanBlock, 1) finishPoints(int32_t* a, Pass pass, Points points) {
  points.prepare();
  const unsigned tiles = static_cast<unsigned>((pass.count + kTile - 1) / kTile);
  const auto sumBefore = [&](unsigned tile) { return tile > 0 ? sumIn(pass.words[tile - 1]) : 0; };
  const uint64_t total = sumBefore(tiles);
  const bool holds = isNormalised(static_cast<double>(total) / kUnit);
  const uint32_t pieces = holds ? *pass.more.count : 0;
  for (uint32_t k = blockIdx.x; k < pieces; k += gridDim.x) {
    const unsigned tile = pass.more.list[k].x;
    const Runs runs = runsOf(sumsOf(pass, tile), sumBefore(tile), points);
    const uint32_t from = runs.first + pass.more.list[k].y * kPointsOfBlock;
    writeRuns(a, runs, tile, from, min(runs.last, from + kPointsOfBlock));
  }
  const uint32_t rest = holds ? points.below(total) : points.n;
  if (blockIdx.x == 0 && rest < points.n) {
    unsigned tile = 0, high = tiles - 1;  // the first tile up to which the sum is all
    while (tile < high) {
      const unsigned middle = (tile + high) / 2;
      if (sumIn(pass.words[middle]) == total)
        high = middle;
      else
        tile = middle + 1;
    }
    const TileSums s = sumsOf(pass, tile);
    uint32_t last = 0, lastOfAll;
    uint64_t before = s.before;
    for (unsigned k = 0; k < kScanEach; ++k) {
      if (s.upTo[k] > before) last = threadIdx.x * kScanEach + k;
      before = s.upTo[k];
    }
    blockScan<kScanBlock>(last, lastOfAll, Most());
    for (size_t i = size_t(rest) + threadIdx.x; i < points.n; i += kScanBlock)
      a[i] = static_cast<int32_t>(tile * kTile + lastOfAll);
  }
}

// False: the weights are not normalised, and `a` means nothing. Waits.
template <class Points>
bool resampleInOnePass(Context& context, int32_t* a, const Weights& w, size_t count, const Points& points) {
  const unsigned tiles = cover(count, kTile);
  const auto memory =
      carve(context, {(size_t(tiles) + 1) * sizeof(uint64_t), (points.n / kPointsOfBlock + 1) * sizeof(uint2)});
  uint64_t* words = as<uint64_t>(memory[0]);
  uint32_t* counters = as<uint32_t>(memory[0]) + 2 * size_t(tiles);
  const Pass pass{w, count, aligned16(w.w), words, counters, {counters + 1, as<uint2>(memory[1])}};
  context.zero(words, (size_t(tiles) + 1) * sizeof(uint64_t));
  LAUNCH((resampleTiles<Points>), tiles, kScanBlock, 0, context.stream())(a, pass, points);
  LAUNCH((finishPoints<Points>), std::min(points.n / kPointsOfBlock + 1, 1024u), kScanBlock, 0, context.stream())
  (a, pass, points);
  launched("resampling");
  uint64_t last = 0;
  context.download(&last, words + tiles - 1, sizeof last);
  return isNormalised(static_cast<double>(last & kMostSum) / kUnit);
}

}  // namespace
}  // namespace feynkac
