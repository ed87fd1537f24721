// The losses, the gradient norm, Adam with its moving average, and training noise.
#include "kernels/common/random.h"
#include "kernels/cpu/cpu_kernels.h"

namespace feynkac {
namespace FEYNKAC_ISA {

namespace {
constexpr size_t kPieceFloats = 16384;

int pieces(size_t n) { return static_cast<int>((n + kPieceFloats - 1) / kPieceFloats); }
}  // namespace

void CpuKernels::projectionLoss(float* v, double* losses, const float* g, const float* target, float weight, int batch,
                                size_t n) {
  parallelFor(batch, [&](int b) {
    const float *p = g + b * n, *q = target + b * n;
    float* to = v + b * n;
    vd low = {}, high = {};
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      const vf d = load(p + i) - load(q + i);
      store(to + i, d * (2.0f * weight));
      low += lower(d) * lower(d);
      high += upper(d) * upper(d);
    }
    double s = sum(low + high);
    for (; i < n; ++i) {
      const float d = p[i] - q[i];
      to[i] = d * (2.0f * weight);
      s += double(d) * double(d);
    }
    losses[b] = s;
  });
}

void CpuKernels::levelLoss(float* c, double* losses, double* residual, const double* energy, const double* free,
                           const double* slope, const int32_t* truth, double weight, int levels, int batch) {
  for (int b = 0; b < batch; ++b) {
    const auto logit = [&](int j) { return free[j * batch + b] - energy[j * batch + b]; };
    double most = logit(0), sum = 0;
    for (int j = 1; j < levels; ++j) most = logit(j) > most ? logit(j) : most;
    for (int j = 0; j < levels; ++j) sum += ::exp(logit(j) - most);
    losses[b] = ::log(sum) - (logit(truth[b]) - most);
    for (int j = 0; j < levels; ++j) {
      const int at = j * batch + b;
      residual[at] = ::exp(logit(j) - most) / sum - (j == truth[b] ? 1 : 0);
      c[at] = static_cast<float>(-weight * slope[at] * residual[at]);
    }
  }
}

void CpuKernels::sumSquares(double* out, const float* g, size_t n) {
  const int count = pieces(n);
  double* partial = reinterpret_cast<double*>(scratch(0, 2 * size_t(count) + 1));
  parallelFor(count, [&](int piece) {
    size_t i = size_t(piece) * kPieceFloats;
    const size_t end = i + kPieceFloats < n ? i + kPieceFloats : n;
    vd low = {}, high = {};
    for (; i + kLanes <= end; i += kLanes) {
      const vf v = load(g + i);
      low += lower(v) * lower(v);
      high += upper(v) * upper(v);
    }
    double s = sum(low + high);
    for (; i < end; ++i) s += double(g[i]) * double(g[i]);
    partial[piece] = s;
  });
  double total = 0;
  for (int piece = 0; piece < count; ++piece) total += partial[piece];
  out[0] = total;
}

namespace {

// The update of one vector of parameters, with what is common to all of them.
struct Update {
  float gradScale, beta1, beta2, step, rootCorrection, eps, emaStep;
  float oneMinusBeta1, oneMinusBeta2;

  Update(const AdamStep& s, double sumsq) {
    const double norm = __builtin_sqrt(sumsq);
    gradScale = static_cast<float>(s.clip > 0 && norm > s.clip ? s.clip / norm : 1.0);
    beta1 = static_cast<float>(s.beta1);
    beta2 = static_cast<float>(s.beta2);
    oneMinusBeta1 = static_cast<float>(1 - s.beta1);
    oneMinusBeta2 = static_cast<float>(1 - s.beta2);
    const double t = static_cast<double>(s.step);
    step = static_cast<float>(s.lr / (1 - __builtin_pow(s.beta1, t)));
    rootCorrection = static_cast<float>(1 / __builtin_sqrt(1 - __builtin_pow(s.beta2, t)));
    eps = static_cast<float>(s.eps);
    emaStep = static_cast<float>(1 - s.emaDecay);
  }
  inline __attribute__((always_inline)) void apply(vf& p, vf& ema, vf& m, vf& v, vf g) const {
    g = g * gradScale;
    m = m * beta1 + g * oneMinusBeta1;
    v = v * beta2 + g * g * oneMinusBeta2;
    p = p - m * step / (sqrt(v) * rootCorrection + eps);
    ema = ema + (p - ema) * emaStep;
  }
};

}  // namespace

void CpuKernels::adam(float* params, float* ema, float* m, float* v, const float* grad, const double* sumsq,
                      const AdamStep& step, size_t n) {
  if (!__builtin_isfinite(sumsq[0])) return;
  const Update update(step, sumsq[0]);
  parallelFor(pieces(n), [&](int piece) {
    size_t i = size_t(piece) * kPieceFloats;
    const size_t end = i + kPieceFloats < n ? i + kPieceFloats : n;
    for (; i + kLanes <= end; i += kLanes) {
      vf p = load(params + i), e = load(ema + i), mi = load(m + i), vi = load(v + i);
      update.apply(p, e, mi, vi, load(grad + i));
      store(params + i, p);
      store(ema + i, e);
      store(m + i, mi);
      store(v + i, vi);
    }
    if (i < end) {
      const int left = static_cast<int>(end - i);
      vf p = loadTail(params + i, left), e = loadTail(ema + i, left), mi = loadTail(m + i, left),
         vi = loadTail(v + i, left);
      update.apply(p, e, mi, vi, loadTail(grad + i, left));
      storeTail(params + i, p, left);
      storeTail(ema + i, e, left);
      storeTail(m + i, mi, left);
      storeTail(v + i, vi, left);
    }
  });
}

void CpuKernels::addNoise(float* x, const float* x0, const float* sigma, uint64_t seed, uint32_t purpose, uint32_t step,
                          uint32_t firstRow, int rows, size_t n) {
  parallelFor(rows, [&](int r) {
    const size_t origin = r * n;
    for (size_t i = 0; i < n; i += 4) {
      float normals[4];
      normalsFrom(philox(seed, purpose, step, firstRow + static_cast<uint32_t>(r), static_cast<uint32_t>(i / 4)),
                  normals);
      const int left = n - i < 4 ? static_cast<int>(n - i) : 4;
      for (int k = 0; k < left; ++k) x[origin + i + k] = x0[origin + i + k] + sigma[r] * normals[k];
    }
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
