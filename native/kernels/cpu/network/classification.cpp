// The mean over pixels, and the softmax cross-entropy of several attributes.
#include "kernels/cpu/cpu_kernels.h"

namespace feynkac {
namespace FEYNKAC_ISA {

void CpuKernels::run(const op::Pool& o) {
  constexpr int kColumns = 64;
  const int across = (o.channels + kColumns - 1) / kColumns;
  parallelFor(o.batch * across, [&](int piece) {
    const int b = piece / across, first = piece % across * kColumns,
              n = o.channels - first < kColumns ? o.channels - first : kColumns;
    double sums[kColumns] = {};
    for (int p = 0; p < o.pixels; ++p) {
      const float* from = o.x + (size_t(b) * o.pixels + p) * o.channels + first;
      for (int c = 0; c < n; ++c) sums[c] += from[c];
    }
    for (int c = 0; c < n; ++c) o.y[size_t(b) * o.channels + first + c] = static_cast<float>(sums[c] / o.pixels);
  });
}

void CpuKernels::run(const op::PoolAdjoint& o) {
  const float share = 1.0f / static_cast<float>(o.pixels);
  parallelFor(o.batch, [&](int b) {
    const float* from = o.dy + size_t(b) * o.channels;
    for (int p = 0; p < o.pixels; ++p) {
      float* to = o.dx + (size_t(b) * o.pixels + p) * o.channels;
      for (int c = 0; c < o.channels; ++c) to[c] = o.accumulate ? to[c] + from[c] * share : from[c] * share;
    }
  });
}

namespace {

// The loss of one attribute of one row.
double attributeLoss(float* dlogits, const float* logits, const float* targets, int n, float weight) {
  double largest = logits[0], known = 0, sum = 0, loss = 0;
  for (int i = 0; i < n; ++i) {
    largest = logits[i] > largest ? logits[i] : largest;
    known += targets[i];
  }
  for (int i = 0; i < n; ++i) sum += __builtin_exp(logits[i] - largest);
  const double logSum = largest + __builtin_log(sum);
  for (int i = 0; i < n; ++i) {
    const double logP = logits[i] - logSum;
    loss -= targets[i] * logP;
    dlogits[i] = static_cast<float>(weight * (__builtin_exp(logP) * known - targets[i]));
  }
  return loss;
}

}  // namespace

void CpuKernels::run(const op::CrossEntropy& o) {
  parallelFor(o.batch, [&](int b) {
    double loss = 0;
    for (int a = 0; a < o.attributes; ++a) {
      const size_t at = size_t(b) * o.width + o.offsets[a];
      loss += attributeLoss(o.dlogits + at, o.logits + at, o.targets + at, o.offsets[a + 1] - o.offsets[a], o.weight);
    }
    o.losses[b] = loss;
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
