// The losses, the gradient norm, Adam with its moving average, and training noise.
#include "kernels/common/clip.h"
#include "kernels/common/random.h"
#include "kernels/cpu/cpu_kernels.h"

namespace feynkac {
namespace FEYNKAC_ISA {

namespace {
constexpr size_t kPieceFloats = 16384;

int pieces(size_t n) { return static_cast<int>((n + kPieceFloats - 1) / kPieceFloats); }
}  // namespace

void CpuKernels::run(const op::ProjectionLoss& o) {
  parallelFor(o.batch, [&](int b) {
    const float *p = o.g + b * o.n, *q = o.target + b * o.n;
    float* to = o.v + b * o.n;
    vd low = {}, high = {};
    size_t i = 0;
    for (; i + kLanes <= o.n; i += kLanes) {
      const vf d = load(p + i) - load(q + i);
      store(to + i, d * (2.0f * o.form.weight));
      low += lower(d) * lower(d);
      high += upper(d) * upper(d);
    }
    double s = sum(low + high);
    for (; i < o.n; ++i) {
      const float d = p[i] - q[i];
      to[i] = d * (2.0f * o.form.weight);
      s += double(d) * double(d);
    }
    o.losses[b] = s;
  });
}

void CpuKernels::run(const op::LevelLoss& o) {
  for (int b = 0; b < o.batch; ++b) {
    const auto logit = [&](int j) { return o.free[j * o.batch + b] - o.energy[j * o.batch + b]; };
    double most = logit(0), sum = 0;
    for (int j = 1; j < o.levels; ++j) most = logit(j) > most ? logit(j) : most;
    for (int j = 0; j < o.levels; ++j) sum += ::exp(logit(j) - most);
    o.losses[b] = ::log(sum) - (logit(o.truth[b]) - most);
    for (int j = 0; j < o.levels; ++j) {
      const int at = j * o.batch + b;
      o.residual[at] = ::exp(logit(j) - most) / sum - (j == o.truth[b] ? 1 : 0);
      o.c[at] = static_cast<float>(-o.weight * o.slope[at] * o.residual[at]);
    }
  }
}

void CpuKernels::run(const op::SumSquares& o) {
  const int count = pieces(o.n);
  double* partial = reinterpret_cast<double*>(scratch(0, 2 * size_t(count) + 1));
  parallelFor(count, [&](int piece) {
    size_t i = size_t(piece) * kPieceFloats;
    const size_t end = i + kPieceFloats < o.n ? i + kPieceFloats : o.n;
    vd low = {}, high = {};
    for (; i + kLanes <= end; i += kLanes) {
      const vf v = load(o.g + i);
      low += lower(v) * lower(v);
      high += upper(v) * upper(v);
    }
    double s = sum(low + high);
    for (; i < end; ++i) s += double(o.g[i]) * double(o.g[i]);
    partial[piece] = s;
  });
  double total = 0;
  for (int piece = 0; piece < count; ++piece) total += partial[piece];
  o.out[0] = total;
}

namespace {

// The update of one vector of parameters, with what is common to all of them.
struct Update {
  float gradScale, beta1, beta2, step, rootCorrection, eps, emaStep;
  float oneMinusBeta1, oneMinusBeta2;

  Update(const AdamStep& s, double sumsq) {
    gradScale = clipScale(sumsq, s.clip);
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

void CpuKernels::run(const op::Adam& o) {
  if (!__builtin_isfinite(o.sumsq[0])) return;
  const Update update(o.step, o.sumsq[0]);
  parallelFor(pieces(o.n), [&](int piece) {
    size_t i = size_t(piece) * kPieceFloats;
    const size_t end = i + kPieceFloats < o.n ? i + kPieceFloats : o.n;
    for (; i + kLanes <= end; i += kLanes) {
      vf p = load(o.params + i), e = load(o.ema + i), mi = load(o.m + i), vi = load(o.v + i);
      update.apply(p, e, mi, vi, load(o.grad + i));
      store(o.params + i, p);
      store(o.ema + i, e);
      store(o.m + i, mi);
      store(o.v + i, vi);
    }
    if (i < end) {
      const int left = static_cast<int>(end - i);
      vf p = loadTail(o.params + i, left), e = loadTail(o.ema + i, left), mi = loadTail(o.m + i, left),
         vi = loadTail(o.v + i, left);
      update.apply(p, e, mi, vi, loadTail(o.grad + i, left));
      storeTail(o.params + i, p, left);
      storeTail(o.ema + i, e, left);
      storeTail(o.m + i, mi, left);
      storeTail(o.v + i, vi, left);
    }
  });
}

void CpuKernels::run(const op::AddNoise& o) {
  parallelFor(o.rows, [&](int r) {
    const size_t origin = r * o.n;
    for (size_t i = 0; i < o.n; i += 4) {
      float normals[4];
      normalsFrom(
          philox(o.seed, o.purpose, o.step, o.firstRow + static_cast<uint32_t>(r), static_cast<uint32_t>(i / 4)),
          normals);
      const int left = o.n - i < 4 ? static_cast<int>(o.n - i) : 4;
      for (int k = 0; k < left; ++k) o.x[origin + i + k] = o.x0[origin + i + k] + o.sigma[r] * normals[k];
    }
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
