// Losses, noise and the optimizer. operations.h says what holds for all.
#pragma once

#include <cstddef>
#include <cstdint>

namespace feynkac {

// Adam (Kingma & Ba 2015) with gradient clipping by global norm and an exponential moving average of the weights.
struct AdamStep {
  double lr, beta1, beta2, eps;
  int64_t step;     // 1 at the first update, for the bias corrections
  double clip;      // largest global gradient norm; 0: no clipping
  double emaDecay;  // ema = emaDecay ema + (1 - emaDecay) params
};

// Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon/) for matrices, at the rate of Adam for all else.
struct MuonStep {
  double lr, momentum;
  double clip, emaDecay;  // as Adam's
};
// p(G) = constant + linear G + square G^2 of a Newton-Schulz step, and how many there are (the same source): singular values come to
// lie about 1.
constexpr float kMuonConstant = 3.4445f, kMuonLinear = -4.7750f, kMuonSquare = 2.0315f;
constexpr int kMuonRounds = 5;
// An orthogonal matrix times this and the root of its longer side moves weights about as far as Adam does (Liu et al. 2025,
// arXiv 2502.16982).
constexpr double kMuonScale = 0.2;

namespace op {

// What a loss of outputs is, but for its arrays. Heads carry it from the addon to the operation.
struct LossForm {
  float weight = 1;

  bool operator==(const LossForm& other) const { return weight == other.weight; }
  LossForm weighed(double by) const {
    LossForm form = *this;
    form.weight = static_cast<float>(by);
    return form;
  }
};

// Projection loss (docs/concepts/distillation.md): losses[b] = sum_i (g - target)^2 in float64, v = 2 form.weight (g - target)
struct ProjectionLoss {
  static constexpr const char* kKind = "elementwise";
  float* v;
  double* losses;
  const float *g, *target;
  LossForm form;
  int batch;
  size_t n;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(v, batch * n);
    each.writes(losses, batch);
    each.reads(g, batch * n);
    each.reads(target, batch * n);
  }
};

// Cross-entropy over noise levels (docs/levelled.md): sample b has the logits z[j, b] = free[j, b] - energy[j, b] and was drawn
// at level truth[b]. losses[b] = log sum_j exp z[j, b] - z[truth[b], b], residual[j, b] = softmax_j z - (j == truth[b]) = dloss/dz,
// c[j, b] = -weight slope[j, b] residual[j, b]: the adjoint of q where energy = slope q + const.
struct LevelLoss {
  static constexpr const char* kKind = "elementwise";
  float* c;
  double *losses, *residual;
  const double *energy, *free, *slope;
  const int32_t* truth;
  double weight;
  int levels, batch;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(c, size_t(levels) * batch);
    each.writes(losses, batch);
    each.writes(residual, size_t(levels) * batch);
    each.reads(energy, size_t(levels) * batch);
    each.reads(free, size_t(levels) * batch);
    each.reads(slope, size_t(levels) * batch);
    each.reads(truth, batch);
  }
};

// out[0] = sum_i g_i^2 in float64
struct SumSquares {
  static constexpr const char* kKind = "optimizer";
  double* out;
  const float* g;
  size_t n;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(out, 1);
    each.reads(g, n);
  }
};

// One pass over the flat parameters. sumsq[0] is that of SumSquares(grad): clipping multiplies grad by min(1, clip / sqrt(sumsq)).
// Where sumsq is not finite nothing changes. m, v: the moments.
struct Adam {
  static constexpr const char* kKind = "optimizer";
  float *params, *ema, *m, *v;
  const float* grad;
  const double* sumsq;
  AdamStep step;
  size_t n;
  template <class Each>
  void arrays(Each&& each) {
    each.updates(params, n);
    each.updates(ema, n);
    each.updates(m, n);
    each.updates(v, n);
    each.reads(grad, n);
    each.reads(sumsq, 1);
  }
};

// One matrix [rows, columns] with its average, momentum and gradient, which is clipped as Adam clips it:
//   m = momentum m + (1 - momentum) g,  u = momentum m + (1 - momentum) g,
//   w -= lr kMuonScale sqrt(max(rows, columns)) X p(X^T X) p(..) .., X = u / |u| with the longer side first.
// The polynomials are multiplied before X is, in float32. Where sumsq is not finite nothing changes; where u is 0 the weights stay.
struct Muon {
  static constexpr const char* kKind = "optimizer";
  float *params, *ema, *m;
  const float* grad;
  const double* sumsq;
  MuonStep step;
  int rows, columns;
  template <class Each>
  void arrays(Each&& each) {
    const size_t n = size_t(rows) * columns;
    each.updates(params, n);
    each.updates(ema, n);
    each.updates(m, n);
    each.reads(grad, n);
    each.reads(sumsq, 1);
  }
  double products() const {
    const double narrow = rows < columns ? rows : columns;
    return (4.0 * rows * columns + (4 * kMuonRounds - 3) * 2 * narrow * narrow) * narrow;
  }
};

// x[r, i] = x0[r, i] + sigma[r] n, n = the normals of random.h for (seed, purpose, step, particle firstRow + r)
struct AddNoise {
  static constexpr const char* kKind = "elementwise";
  float* x;
  const float *x0, *sigma;
  uint64_t seed;
  uint32_t purpose, step, firstRow;
  int rows;
  size_t n;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(x, rows * n);
    each.reads(x0, rows * n);
    each.reads(sigma, rows);
  }
};

}  // namespace op

// clang-format off
#define FEYNKAC_OPTIMIZER_OPERATIONS(DO) \
  DO(ProjectionLoss) DO(LevelLoss) DO(SumSquares) DO(Adam) DO(Muon) DO(AddNoise)
// clang-format on

}  // namespace feynkac
