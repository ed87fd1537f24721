// What the passes of norm.cpp share: the block of one sample's whole groups that a piece of work owns, sweeps over it,
// and the affine map from x to xhat.
#pragma once

#include "kernels/cpu/cpu_kernels.h"

namespace feynkac {
namespace FEYNKAC_ISA {

constexpr int kChunk = 32;          // rows summed in float32 before float64 takes over
constexpr int kBlockChannels = 64;  // a block has about so many channels,
constexpr int kFewChannels = 16;    // or half as many, down to these,
constexpr int kPieces = 4;          // where a thread has fewer blocks than these

// Access to a whole vector, or to the channels after the last whole one.
struct WholeVector {
  FEYNKAC_INLINE vf load(const float* p) { return FEYNKAC_ISA::load(p); }
  FEYNKAC_INLINE void store(float* p, vf v) { FEYNKAC_ISA::store(p, v); }
};
struct PartVector {
  int n;
  inline __attribute__((always_inline)) vf load(const float* p) const { return loadTail(p, n); }
  inline __attribute__((always_inline)) void store(float* p, vf v) const { storeTail(p, v, n); }
};

FEYNKAC_INLINE void addTo(double* sums, vf v) {
  storeDoubles(sums, loadDoubles(sums) + lower(v));
  storeDoubles(sums + kLanes / 2, loadDoubles(sums + kLanes / 2) + upper(v));
}

struct NormBlock {
  int sample, first, n, padded;  // channels first .. first + n of the sample; padded: n up to whole vectors
  int pixels, channels, groupSize, nGroups;
  bool grouped;    // false: no normalisation, and the groups below are just cuts
  bool rowAffine;  // a gamma and beta for each sample

  size_t origin() const { return size_t(sample) * pixels * channels + first; }
  size_t channelOrigin() const { return size_t(sample) * channels + first; }
  size_t affineOrigin() const { return rowAffine ? channelOrigin() : first; }
  size_t statsOrigin() const { return 2 * (size_t(sample) * nGroups + first / groupSize); }
  double count() const { return double(groupSize) * pixels; }
  size_t at(int row, int j) const { return size_t(row) * channels + j; }
  // Asks for what a sweep comes to a chunk later: the rows of a block are too short, and too far apart, to be foreseen.
  inline __attribute__((always_inline)) void fetch(const float* p, int row, int j) const {
    __builtin_prefetch(p + at(row + kChunk, j));
  }
  inline __attribute__((always_inline)) void fetchToWrite(const float* p, int row, int j) const {
    __builtin_prefetch(p + at(row + 8, j), 1);
  }
  size_t local(int row, int j) const { return size_t(row) * padded + j; }  // in scratch

  template <class F>
  inline __attribute__((always_inline)) void columns(const F& f) const {
    const int whole = n / kLanes * kLanes;
    for (int j = 0; j < whole; j += kLanes) f(WholeVector{}, j);
    if (whole < n) f(PartVector{n - whole}, whole);
  }
  // sums[q][j] = sum over pixels of what f(io, row, j, s) adds to s[q]
  template <int Q, class F>
  inline __attribute__((always_inline)) void reduce(double* const sums[Q], const F& f) const {
    for (int q = 0; q < Q; ++q) memset(sums[q], 0, sizeof(double) * padded);
    for (int row = 0; row < pixels; row += kChunk) {
      const int end = row + kChunk < pixels ? row + kChunk : pixels;
      columns([&](auto io, int j) __attribute__((always_inline)) {
        vf even[Q] = {}, odd[Q] = {};  // two chains of additions
        int i = row;
        for (; i + 2 <= end; i += 2) {
          f(io, i, j, even);
          f(io, i + 1, j, odd);
        }
        if (i < end) f(io, i, j, even);
        for (int q = 0; q < Q; ++q) addTo(sums[q] + j, even[q] + odd[q]);
      });
    }
  }
  // f(io, row, j, at) for every vector, in chunks of rows
  template <class F>
  inline __attribute__((always_inline)) void map2(const F& f) const {
    for (int row = 0; row < pixels; row += kChunk) {
      const int end = row + kChunk < pixels ? row + kChunk : pixels;
      columns([&](auto io, int j) __attribute__((always_inline)) {
        for (int i = row; i < end; ++i) f(io, i, j, at(i, j));
      });
    }
  }
  template <class F>
  inline __attribute__((always_inline)) void map(const F& f) const {
    map2([&](auto io, int, int j, size_t at) __attribute__((always_inline)) { f(io, j, at); });
  }
  // f(group, j0, j1): channels j0 .. j1 of the block are its group number `group`
  template <class F>
  inline __attribute__((always_inline)) void groups(const F& f) const {
    for (int j = 0, g = 0; j < n; j += groupSize, ++g) f(g, j, j + groupSize);
  }
};

// The pieces of a shape: every sample cut into blocks of whole groups. The sums of a channel are the same in any block, so the blocks may
// depend on the threads.
template <class F>
static inline void forEachBlock(const NormShape& s, const F& f) {
  const int groupSize = s.groups > 0 ? s.channels / s.groups : 1;
  const int threads = threadCount(), pieces = threads > 1 ? kPieces * threads : 1;
  int blockChannels = 0, blocks = 0;
  for (int wanted = kBlockChannels; wanted >= kFewChannels && s.batch * blocks < pieces; wanted /= 2) {
    blockChannels = (wanted + groupSize - 1) / groupSize * groupSize;
    blocks = (s.channels + blockChannels - 1) / blockChannels;
  }
  parallelFor(s.batch * blocks, [&](int piece) {
    const int first = piece % blocks * blockChannels, left = s.channels - first;
    const int n = left < blockChannels ? left : blockChannels;
    f(NormBlock{piece / blocks, first, n, (n + kLanes - 1) / kLanes * kLanes, s.pixels, s.channels, groupSize, s.groups,
                s.groups > 0, s.rowAffine});
  });
}

// Zeroed arrays of a value for each channel of a block.
class ChannelScratch {
 public:
  ChannelScratch(int padded, int floats, int doubles) : padded_(padded), nDoubles_(doubles) {
    const size_t n = size_t(padded) * (floats + 2 * doubles);
    memory_ = scratch(0, n);
    memset(memory_, 0, n * sizeof(float));
  }
  double* doubles(int i) const { return reinterpret_cast<double*>(memory_) + size_t(padded_) * i; }
  float* floats(int i) const { return memory_ + size_t(padded_) * (2 * nDoubles_ + i); }

 private:
  int padded_, nDoubles_;
  float* memory_;
};

// xhat = scale x + shift and z = gamma xhat + beta, a value for each channel.
struct NormAffine {
  float *scale, *shift, *gamma, *beta;

  NormAffine(const NormBlock& k, const float* e, const float* stats, const float* gammaIn, const float* betaIn) {
    scale = scratch(1, 4 * size_t(k.padded));
    memset(scale, 0, 4 * size_t(k.padded) * sizeof(float));
    shift = scale + k.padded;
    gamma = shift + k.padded;
    beta = gamma + k.padded;
    const float* own = k.grouped ? stats + k.statsOrigin() : nullptr;
    for (int j = 0; j < k.n; ++j) {
      const double mean = own != nullptr ? own[2 * (j / k.groupSize)] : 0.0;
      const double rstd = own != nullptr ? own[2 * (j / k.groupSize) + 1] : 1.0;
      scale[j] = static_cast<float>(rstd);
      shift[j] = static_cast<float>(((e != nullptr ? double(e[k.channelOrigin() + j]) : 0.0) - mean) * rstd);
      gamma[j] = gammaIn != nullptr ? gammaIn[k.affineOrigin() + j] : 1.0f;
      beta[j] = betaIn != nullptr ? betaIn[k.affineOrigin() + j] : 0.0f;
    }
  }
  inline __attribute__((always_inline)) vf normalised(vf x, int j) const {
    return x * load(scale + j) + load(shift + j);
  }
  inline __attribute__((always_inline)) vf scaled(vf h, int j) const { return h * load(gamma + j) + load(beta + j); }
};

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
