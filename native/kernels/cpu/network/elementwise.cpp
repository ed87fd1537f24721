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

void CpuKernels::run(const op::CopyChannels& o) {
  const size_t each = kPieceFloats / size_t(o.n) + 1;
  parallelFor(pieces(o.rows, each), [&](int piece) {
    const size_t first = size_t(piece) * each, end = first + each < o.rows ? first + each : o.rows;
    for (size_t r = first; r < end; ++r) {
      float* to = o.y + r * o.yWidth + o.yOffset;
      const float* from = o.x + r * o.xWidth + o.xOffset;
      o.accumulate ? add(to, from, o.n) : copyFloats(to, from, o.n);
    }
  });
}

void CpuKernels::run(const op::Combine& o) {
  parallelFor(pieces(o.n, kPieceFloats), [&](int piece) {
    size_t i = size_t(piece) * kPieceFloats;
    const size_t end = i + kPieceFloats < o.n ? i + kPieceFloats : o.n;
    for (; i + kLanes <= end; i += kLanes)
      store(o.y + i, o.x2 != nullptr ? load(o.x1 + i) * o.a + load(o.x2 + i) * o.b : load(o.x1 + i) * o.a);
    if (i < end) {
      const int left = static_cast<int>(end - i);
      storeTail(o.y + i,
                o.x2 != nullptr ? loadTail(o.x1 + i, left) * o.a + loadTail(o.x2 + i, left) * o.b
                                : loadTail(o.x1 + i, left) * o.a,
                left);
    }
  });
}

void CpuKernels::run(const op::CombineRows& o) {
  for (int r = 0; r < o.rows; ++r) o.out[r] = o.a[r] * o.x1[r] + o.b[r] * o.x2[r];
}

void CpuKernels::run(const op::DotRows& o) {
  parallelFor(o.rows, [&](int r) {
    const float *p = o.x1 + r * o.n, *q = o.x2 + r * o.n;
    vd low = {}, high = {};
    size_t i = 0;
    for (; i + kLanes <= o.n; i += kLanes) {
      const vf a = load(p + i), b = load(q + i);
      low += lower(a) * lower(b);
      high += upper(a) * upper(b);
    }
    double s = sum(low + high);
    for (; i < o.n; ++i) s += double(p[i]) * double(q[i]);
    o.out[r] = s;
  });
}

void CpuKernels::run(const op::Pad& o) {
  const int outHeight = o.height + 2 * o.margin, zeros = o.margin > 0 ? o.margin * o.channels : 0,
            cropped = o.margin < 0 ? -o.margin * o.channels : 0, n = o.width * o.channels - 2 * cropped;
  parallelFor(o.batch * outHeight, [&](int piece) {
    const int b = piece / outHeight, i = piece % outHeight - o.margin;
    float* line = o.y + size_t(piece) * (n + 2 * zeros);
    if (!o.accumulate) memset(line, 0, sizeof(float) * (n + 2 * zeros));
    if (i < 0 || i >= o.height) return;
    const float* from = o.x + (size_t(b) * o.height + i) * o.width * o.channels + cropped;
    o.accumulate ? add(line + zeros, from, n) : copyFloats(line + zeros, from, n);
  });
}

void CpuKernels::run(const op::NoiseEmbedding& o) {
  const int half = o.channels / 2;
  parallelFor(o.batch, [&](int b) {
    float *sines = o.y + size_t(b) * o.channels + (o.cosFirst ? half : 0),
          *cosines = o.y + size_t(b) * o.channels + (o.cosFirst ? 0 : half);
    for (int i = 0; i < half; ++i) {
      sines[i] = static_cast<float>(__builtin_sin(o.t[b] * o.freqs[i]));
      cosines[i] = static_cast<float>(__builtin_cos(o.t[b] * o.freqs[i]));
    }
  });
}

void CpuKernels::run(const op::Modulate& o) {
  parallelFor(o.batch, [&](int b) {
    const float *s = o.scaleShift + size_t(b) * 2 * o.channels, *t = s + o.channels;
    float *g = o.rowGamma + size_t(b) * o.channels, *h = o.rowBeta + size_t(b) * o.channels;
    for (int c = 0; c < o.channels; ++c) {
      g[c] = o.gamma[c] * (1.0f + s[c]);
      h[c] = o.beta[c] * (1.0f + s[c]) + t[c];
    }
  });
}

void CpuKernels::run(const op::ModulateAdjoint& o) {
  constexpr int kColumns = 64;
  parallelFor(pieces(o.channels, kColumns), [&](int piece) {
    const int first = piece * kColumns, n = o.channels - first < kColumns ? o.channels - first : kColumns;
    double sumGamma[kColumns] = {}, sumBeta[kColumns] = {};
    for (int b = 0; b < o.batch; ++b) {
      const float *s = o.scaleShift + size_t(b) * 2 * o.channels + first,
                  *dg = o.dRowGamma + size_t(b) * o.channels + first, *db = o.dRowBeta + size_t(b) * o.channels + first;
      float *ds = o.dScaleShift + size_t(b) * 2 * o.channels + first, *dt = ds + o.channels;
      for (int c = 0; c < n; ++c) {
        sumGamma[c] += (1.0 + s[c]) * dg[c];
        sumBeta[c] += (1.0 + s[c]) * db[c];
        ds[c] = o.gamma[first + c] * dg[c] + o.beta[first + c] * db[c];
        dt[c] = db[c];
      }
    }
    for (int c = 0; c < n; ++c) {
      o.dgamma[first + c] += static_cast<float>(sumGamma[c]);
      o.dbeta[first + c] += static_cast<float>(sumBeta[c]);
    }
  });
}

void CpuKernels::run(const op::ToChannelsLast& o) {
  parallelFor(o.batch, [&](int b) {
    const size_t origin = size_t(b) * o.channels * o.pixels;
    for (int c = 0; c < o.channels; ++c) {
      const float *p = o.x1 + origin + size_t(c) * o.pixels,
                  *q = o.x2 != nullptr ? o.x2 + origin + size_t(c) * o.pixels : nullptr;
      float* to = o.y + origin + c;
      for (int i = 0; i < o.pixels; ++i)
        to[size_t(i) * o.channels] = q != nullptr ? o.a[b] * p[i] + o.bcoef[b] * q[i] : o.a[b] * p[i];
    }
  });
}

void CpuKernels::run(const op::ToChannelsFirst& o) {
  parallelFor(o.batch, [&](int b) {
    const size_t origin = size_t(b) * o.channels * o.pixels;
    for (int c = 0; c < o.channels; ++c) {
      const float *p = o.x != nullptr ? o.x + origin + size_t(c) * o.pixels : nullptr, *q = o.f + origin + c;
      float* to = o.y + origin + size_t(c) * o.pixels;
      for (int i = 0; i < o.pixels; ++i) {
        const float v = o.bcoef[b] * q[size_t(i) * o.channels];
        to[i] = p != nullptr ? o.a[b] * p[i] + v : v;
      }
    }
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
