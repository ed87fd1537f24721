// What the two ways of resampling have in common: weights as whole numbers, uniforms, and crowded tiles.
#pragma once

#include "kernels/common/particles.h"
#include "kernels/common/resampling_rules.h"
#include "scan.cuh"

namespace feynkac {
namespace {

constexpr uint64_t kOne = uint64_t(1) << 61;  // units of a weight of 1
constexpr double kUnit = static_cast<double>(kOne);

// A number of units, rounded down; from 0 to 2^62 whatever x is.
GPU_FN uint64_t units(double x) {
  if (!(x > 0)) return 0;
  return x < 2 * kUnit ? static_cast<uint64_t>(x) : uint64_t(1) << 62;
}

// Uniforms where the device can read them.
struct Numbers {
  const double* given;  // null: from (seed, step)
  uint64_t seed;
  uint32_t step;
  explicit Numbers(const Uniforms& u) : given(u.areGiven ? u.values : nullptr), seed(u.seed), step(u.step) {}
  GPU_FN double operator()(size_t i) const { return given != nullptr ? given[i] : resamplingUniform(seed, step, i); }
};

struct Weights {
  const double* w;
  double sum;  // 0: they are normalised
  GPU_FN double operator()(size_t i) const { return sum > 0 ? w[i] / sum : w[i]; }
};

// A tile with far more points than weights leaves all but the first kPointsOfBlock to a second launch, in pieces of as many:
// x = tile, y = number of the piece.
constexpr unsigned kRound = 9 * kScanBlock;  // points that one-pass resampling writes at a time
constexpr unsigned kPointsOfBlock = 4 * kRound;
struct MorePoints {
  uint32_t* count;
  uint2* list;
};

// Lists the pieces of a tile's points that its block leaves. A barrier inside where there are any.
GPU_FN void leaveRest(const MorePoints& more, unsigned tile, size_t points) {
  SHARED(uint32_t, place, [1]);
  if (points <= kPointsOfBlock) return;
  const uint32_t pieces = static_cast<uint32_t>((points - 1) / kPointsOfBlock);
  if (threadIdx.x == 0) place[0] = atomicAdd(more.count, pieces);
  __syncthreads();
  for (uint32_t k = threadIdx.x; k < pieces; k += kScanBlock) {
    more.list[place[0] + k].x = tile;
    more.list[place[0] + k].y = k + 1;
  }
}

}  // namespace
}  // namespace feynkac
