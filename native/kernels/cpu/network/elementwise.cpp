// Copies, linear combinations, dot products, margins, the noise embedding, modulation, and the change between channels first
// and last.
#include "kernels/cpu/cpu_kernels.h"

namespace feynkac {
namespace FEYNKAC_ISA {

namespace {
constexpr size_t kPieceFloats = 16384;

int pieces(size_t n, size_t each) { return static_cast<int>((n + each - 1) / each); }

void copyFloats(float* to, const float* from, int n) { memcpy(to, from, size_t(n) * sizeof(float)); }
void add(float* to, const float* from, int n) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) store(to + i, load(to + i) + load(from + i));
  if (i < n) storeTail(to + i, loadTail(to + i, n - i) + loadTail(from + i, n - i), n - i);
}
}  // namespace

void CpuKernels::copyChannels(float* y, const float* x, bool accumulate, size_t rows, int yWidth, int yOffset,
                              int xWidth, int xOffset, int n) {
  const size_t each = kPieceFloats / size_t(n) + 1;
  parallelFor(pieces(rows, each), [&](int piece) {
    const size_t first = size_t(piece) * each, end = first + each < rows ? first + each : rows;
    for (size_t r = first; r < end; ++r) {
      float* to = y + r * yWidth + yOffset;
      const float* from = x + r * xWidth + xOffset;
      accumulate ? add(to, from, n) : copyFloats(to, from, n);
    }
  });
}

void CpuKernels::combine(float* y, float a, const float* x1, float b, const float* x2, size_t n) {
  parallelFor(pieces(n, kPieceFloats), [&](int piece) {
    size_t i = size_t(piece) * kPieceFloats;
    const size_t end = i + kPieceFloats < n ? i + kPieceFloats : n;
    for (; i + kLanes <= end; i += kLanes)
      store(y + i, x2 != nullptr ? load(x1 + i) * a + load(x2 + i) * b : load(x1 + i) * a);
    if (i < end) {
      const int left = static_cast<int>(end - i);
      storeTail(y + i,
                x2 != nullptr ? loadTail(x1 + i, left) * a + loadTail(x2 + i, left) * b : loadTail(x1 + i, left) * a,
                left);
    }
  });
}

void CpuKernels::combineRows(double* out, const double* a, const double* x1, const double* b, const double* x2,
                             int rows) {
  for (int r = 0; r < rows; ++r) out[r] = a[r] * x1[r] + b[r] * x2[r];
}

void CpuKernels::dotRows(double* out, const float* x1, const float* x2, int rows, size_t n) {
  parallelFor(rows, [&](int r) {
    const float *p = x1 + r * n, *q = x2 + r * n;
    vd low = {}, high = {};
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      const vf a = load(p + i), b = load(q + i);
      low += lower(a) * lower(b);
      high += upper(a) * upper(b);
    }
    double s = sum(low + high);
    for (; i < n; ++i) s += double(p[i]) * double(q[i]);
    out[r] = s;
  });
}

void CpuKernels::pad(float* y, const float* x, int margin, bool accumulate, int batch, int height, int width,
                     int channels) {
  const int outHeight = height + 2 * margin, zeros = margin > 0 ? margin * channels : 0,
            cropped = margin < 0 ? -margin * channels : 0, n = width * channels - 2 * cropped;
  parallelFor(batch * outHeight, [&](int piece) {
    const int b = piece / outHeight, i = piece % outHeight - margin;
    float* line = y + size_t(piece) * (n + 2 * zeros);
    if (!accumulate) memset(line, 0, sizeof(float) * (n + 2 * zeros));
    if (i < 0 || i >= height) return;
    const float* from = x + (size_t(b) * height + i) * width * channels + cropped;
    accumulate ? add(line + zeros, from, n) : copyFloats(line + zeros, from, n);
  });
}

void CpuKernels::noiseEmbedding(float* y, const double* t, const double* freqs, bool cosFirst, int batch,
                                int channels) {
  const int half = channels / 2;
  parallelFor(batch, [&](int b) {
    float *sines = y + size_t(b) * channels + (cosFirst ? half : 0),
          *cosines = y + size_t(b) * channels + (cosFirst ? 0 : half);
    for (int i = 0; i < half; ++i) {
      sines[i] = static_cast<float>(__builtin_sin(t[b] * freqs[i]));
      cosines[i] = static_cast<float>(__builtin_cos(t[b] * freqs[i]));
    }
  });
}

void CpuKernels::modulate(float* rowGamma, float* rowBeta, const float* gamma, const float* beta,
                          const float* scaleShift, int batch, int channels) {
  parallelFor(batch, [&](int b) {
    const float *s = scaleShift + size_t(b) * 2 * channels, *t = s + channels;
    float *g = rowGamma + size_t(b) * channels, *h = rowBeta + size_t(b) * channels;
    for (int c = 0; c < channels; ++c) {
      g[c] = gamma[c] * (1.0f + s[c]);
      h[c] = beta[c] * (1.0f + s[c]) + t[c];
    }
  });
}

void CpuKernels::modulateAdjoint(float* dgamma, float* dbeta, float* dScaleShift, const float* dRowGamma,
                                 const float* dRowBeta, const float* gamma, const float* beta, const float* scaleShift,
                                 int batch, int channels) {
  constexpr int kColumns = 64;
  parallelFor(pieces(channels, kColumns), [&](int piece) {
    const int first = piece * kColumns, n = channels - first < kColumns ? channels - first : kColumns;
    double sumGamma[kColumns] = {}, sumBeta[kColumns] = {};
    for (int b = 0; b < batch; ++b) {
      const float *s = scaleShift + size_t(b) * 2 * channels + first, *dg = dRowGamma + size_t(b) * channels + first,
                  *db = dRowBeta + size_t(b) * channels + first;
      float *ds = dScaleShift + size_t(b) * 2 * channels + first, *dt = ds + channels;
      for (int c = 0; c < n; ++c) {
        sumGamma[c] += (1.0 + s[c]) * dg[c];
        sumBeta[c] += (1.0 + s[c]) * db[c];
        ds[c] = gamma[first + c] * dg[c] + beta[first + c] * db[c];
        dt[c] = db[c];
      }
    }
    for (int c = 0; c < n; ++c) {
      dgamma[first + c] += static_cast<float>(sumGamma[c]);
      dbeta[first + c] += static_cast<float>(sumBeta[c]);
    }
  });
}

void CpuKernels::toChannelsLast(float* y, const float* a, const float* x1, const float* bcoef, const float* x2,
                                int batch, int channels, int pixels) {
  parallelFor(batch, [&](int b) {
    const size_t origin = size_t(b) * channels * pixels;
    for (int c = 0; c < channels; ++c) {
      const float *p = x1 + origin + size_t(c) * pixels,
                  *q = x2 != nullptr ? x2 + origin + size_t(c) * pixels : nullptr;
      float* to = y + origin + c;
      for (int i = 0; i < pixels; ++i)
        to[size_t(i) * channels] = q != nullptr ? a[b] * p[i] + bcoef[b] * q[i] : a[b] * p[i];
    }
  });
}

void CpuKernels::toChannelsFirst(float* y, const float* a, const float* x, const float* bcoef, const float* f,
                                 int batch, int channels, int pixels) {
  parallelFor(batch, [&](int b) {
    const size_t origin = size_t(b) * channels * pixels;
    for (int c = 0; c < channels; ++c) {
      const float *p = x != nullptr ? x + origin + size_t(c) * pixels : nullptr, *q = f + origin + c;
      float* to = y + origin + size_t(c) * pixels;
      for (int i = 0; i < pixels; ++i) {
        const float v = bcoef[b] * q[size_t(i) * channels];
        to[i] = p != nullptr ? a[b] * p[i] + v : v;
      }
    }
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
