// The mean over pixels, and the softmax cross-entropy of several attributes.
#include "kernels/cpu/cpu_kernels.h"

namespace feynkac {
namespace FEYNKAC_ISA {

void CpuKernels::pool(float* y, const float* x, int batch, int pixels, int channels) {
  constexpr int kColumns = 64;
  const int across = (channels + kColumns - 1) / kColumns;
  parallelFor(batch * across, [&](int piece) {
    const int b = piece / across, first = piece % across * kColumns,
              n = channels - first < kColumns ? channels - first : kColumns;
    double sums[kColumns] = {};
    for (int p = 0; p < pixels; ++p) {
      const float* from = x + (size_t(b) * pixels + p) * channels + first;
      for (int c = 0; c < n; ++c) sums[c] += from[c];
    }
    for (int c = 0; c < n; ++c) y[size_t(b) * channels + first + c] = static_cast<float>(sums[c] / pixels);
  });
}

void CpuKernels::poolAdjoint(float* dx, const float* dy, bool accumulate, int batch, int pixels, int channels) {
  const float share = 1.0f / static_cast<float>(pixels);
  parallelFor(batch, [&](int b) {
    const float* from = dy + size_t(b) * channels;
    for (int p = 0; p < pixels; ++p) {
      float* to = dx + (size_t(b) * pixels + p) * channels;
      for (int c = 0; c < channels; ++c) to[c] = accumulate ? to[c] + from[c] * share : from[c] * share;
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

void CpuKernels::crossEntropy(float* dlogits, double* losses, const float* logits, const float* targets,
                              const int32_t* offsets, float weight, int batch, int attributes, int width) {
  parallelFor(batch, [&](int b) {
    double loss = 0;
    for (int a = 0; a < attributes; ++a) {
      const size_t at = size_t(b) * width + offsets[a];
      loss += attributeLoss(dlogits + at, logits + at, targets + at, offsets[a + 1] - offsets[a], weight);
    }
    losses[b] = loss;
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
