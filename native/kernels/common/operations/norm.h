// Group norm with SiLU: the four passes of one nonlinear layer (docs/concepts/distillation.md). operations.h says what holds for all.
#pragma once

#include <cstddef>
#include <cstdint>

namespace feynkac {

// Group norm, optional per-channel shift before it, optional SiLU after it:
//   xe = x + e[b, c] (e may be null), xhat = (xe - mean_g) / sqrt(var_g + eps), z = gamma xhat + beta, y = silu ? z sigmoid(z) : z
// groups = 0: no normalisation, xhat = xe, and gamma = beta = null stand for 1 and 0.
struct NormShape {
  int batch, pixels, channels;
  int groups;
  float eps;
  bool silu;
  bool rowAffine;  // gamma, beta, dgamma and dbeta are [batch, channels], a row for each sample, instead of [channels]

  size_t values() const { return shifts() * pixels; }
  size_t shifts() const { return size_t(batch) * channels; }
  size_t affine() const { return rowAffine ? shifts() : size_t(channels); }
  size_t stats() const { return size_t(2) * batch * groups; }
};

namespace op {

// stats [batch, groups, 2] = mean and 1/std, written here, read by the others (unused when groups = 0).
struct Norm {
  static constexpr const char* kKind = "norm";
  float *y, *stats;
  const float *x, *e, *gamma, *beta;
  NormShape s;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(y, s.values());
    each.writes(stats, s.stats());
    each.reads(x, s.values());
    each.reads(e, s.shifts());
    each.reads(gamma, s.affine());
    each.reads(beta, s.affine());
  }
};

// dx (+)= J^T dy. When dgamma is not null also dgamma, dbeta += and, where de is not null, de[b, c] (+=) sum over pixels of
// this layer's J^T dy. With groups = 0, dgamma and dbeta are null and de alone may be asked for.
struct NormAdjoint {
  static constexpr const char* kKind = "norm";
  float *dx, *dgamma, *dbeta, *de;
  const float *dy, *x, *e, *stats, *gamma, *beta;
  bool accumulate;
  NormShape s;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(dx, s.values(), accumulate);
    each.updates(dgamma, s.affine());
    each.updates(dbeta, s.affine());
    each.updates(de, s.shifts());
    each.reads(dy, s.values());
    each.reads(x, s.values());
    each.reads(e, s.shifts());
    each.reads(stats, s.stats());
    each.reads(gamma, s.affine());
    each.reads(beta, s.affine());
  }
};

// ty = J tx
struct NormTangent {
  static constexpr const char* kKind = "norm";
  float* ty;
  const float *tx, *x, *e, *stats, *gamma, *beta;
  NormShape s;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(ty, s.values());
    each.reads(tx, s.values());
    each.reads(x, s.values());
    each.reads(e, s.shifts());
    each.reads(stats, s.stats());
    each.reads(gamma, s.affine());
    each.reads(beta, s.affine());
  }
};

// dx (+)= J^T by + d/dx <ay, J tx>; dgamma, dbeta, de as in NormAdjoint, of both terms.
struct NormSecond {
  static constexpr const char* kKind = "norm";
  float *dx, *dgamma, *dbeta, *de;
  const float *by, *ay, *tx, *x, *e, *stats, *gamma, *beta;
  bool accumulate;
  NormShape s;
  template <class Each>
  void arrays(Each&& each) {
    each.writes(dx, s.values(), accumulate);
    each.updates(dgamma, s.affine());
    each.updates(dbeta, s.affine());
    each.updates(de, s.shifts());
    each.reads(by, s.values());
    each.reads(ay, s.values());
    each.reads(tx, s.values());
    each.reads(x, s.values());
    each.reads(e, s.shifts());
    each.reads(stats, s.stats());
    each.reads(gamma, s.affine());
    each.reads(beta, s.affine());
  }
};

}  // namespace op

// clang-format off
#define FEYNKAC_NORM_OPERATIONS(DO) \
  DO(Norm) DO(NormAdjoint) DO(NormTangent) DO(NormSecond)
// clang-format on

}  // namespace feynkac
