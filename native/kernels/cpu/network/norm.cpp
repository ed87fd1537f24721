// Group norm with a shift before it and SiLU after it, and the passes of docs/concepts/distillation.md.
//
// With r = 1/std and <.> the mean over a group:
//   xhat = r (x + e - mean),  z = gamma xhat + beta,  y = phi(z)
//   adjoint   dz = phi'(z) dy;  dx = r (gamma dz - <gamma dz> - xhat <gamma dz xhat>)
//   tangent   xhat' = r (x' - <x'> - xhat <xhat x'>);  y' = phi'(z) gamma xhat'
//   second    u = a phi'(z),  w = b phi'(z) + a phi''(z) gamma xhat'   (the adjoints of z' and z)
//             H = gamma w - r <xhat x'> gamma u - r <gamma u xhat> x'  (of xhat, which xhat' depends on)
//             dx = r (H - <H> - xhat (<xhat H> + <gamma u xhat'>))     (the last term by r in xhat')
//             dgamma = sum w xhat + u xhat',  dbeta = sum w
// All the means are sums over pixels for each channel, combined over the channels of the group. So a pass is one or two
// reducing sweeps and one writing sweep over a block of whole groups, small enough to stay in cache, vectors along the
// channels.
#include "norm_block.h"

namespace feynkac {
namespace FEYNKAC_ISA {

namespace {

// SiLU and its derivatives, or the identity.
template <bool Silu>
struct Activation {
  FEYNKAC_INLINE vf value(vf z) { return Silu ? z * sigmoid(z) : z; }
  FEYNKAC_INLINE vf first(vf z) {
    if (!Silu) return splat(1.0f);
    const vf s = sigmoid(z);
    return s * (1.0f + z * (1.0f - s));
  }
  FEYNKAC_INLINE void both(vf z, vf* d1, vf* d2) {
    const vf s = Silu ? sigmoid(z) : vf{}, t = 1.0f - s;
    *d1 = Silu ? s * (1.0f + z * t) : splat(1.0f);
    *d2 = Silu ? s * t * (2.0f + z * (t - s)) : vf{};
  }
};

// Merges the moments of a chunk of rows into those of the `before` rows above it.
FEYNKAC_INLINE void mergeMoments(double* mean, double* m2, vd center, vd deviation, vd square, double rows,
                                 double before) {
  const vd offset = deviation * (1.0 / rows), old = loadDoubles(mean), delta = center + offset - old;
  const double weight = rows / (before + rows);
  storeDoubles(mean, old + delta * weight);
  storeDoubles(m2, loadDoubles(m2) + square - offset * offset * rows + delta * delta * (before * weight));
}

// Mean and sum of squared deviations of each channel: exact to rounding whatever the mean, by merging the moments of
// chunks of rows (Chan, Golub & LeVeque 1983); the second look at a chunk finds it in the first-level cache.
void channelMoments(const NormBlock& k, const float* x, double* mean, double* m2) {
  for (int j = 0; j < k.padded; ++j) mean[j] = m2[j] = 0;
  for (int row = 0; row < k.pixels; row += kChunk) {
    const int end = row + kChunk < k.pixels ? row + kChunk : k.pixels, rows = end - row;
    k.columns([&](auto io, int j) __attribute__((always_inline)) {
      vf total[4] = {}, deviation[2] = {}, square[2] = {};  // several chains of additions
      int i = row;
      for (; i + 4 <= end; i += 4)
        for (int u = 0; u < 4; ++u) {
          k.fetch(x, i + u, j);
          total[u] += io.load(x + k.at(i + u, j));
        }
      for (; i < end; ++i) total[0] += io.load(x + k.at(i, j));
      const vf center = ((total[0] + total[1]) + (total[2] + total[3])) * (1.0f / float(rows));
      const auto look = [&](int at, int u) __attribute__((always_inline)) {
        const vf d = io.load(x + k.at(at, j)) - center;
        deviation[u] += d;
        square[u] += d * d;
      };
      for (i = row; i + 2 <= end; i += 2) {
        look(i, 0);
        look(i + 1, 1);
      }
      if (i < end) look(i, 0);
      const vf d = deviation[0] + deviation[1], s = square[0] + square[1];
      mergeMoments(mean + j, m2 + j, lower(center), lower(d), lower(s), rows, row);
      mergeMoments(mean + j + kLanes / 2, m2 + j + kLanes / 2, upper(center), upper(d), upper(s), rows, row);
    });
  }
}

template <bool Silu>
void forward(const NormBlock& k, float* y, float* stats, const float* x, const float* e, const float* gamma,
             const float* beta, float eps) {
  ChannelScratch memory(k.padded, 2, 2);
  float *a = memory.floats(0), *b = memory.floats(1);
  if (k.grouped) {
    double *mean = memory.doubles(0), *m2 = memory.doubles(1);
    channelMoments(k, x, mean, m2);
    for (int j = 0; j < k.n; ++j) mean[j] += e != nullptr ? double(e[j]) : 0.0;
    k.groups([&](int group, int j0, int j1) {
      double center = 0, square = 0;
      for (int j = j0; j < j1; ++j) center += mean[j];
      center /= k.groupSize;
      for (int j = j0; j < j1; ++j) square += m2[j] + k.pixels * (mean[j] - center) * (mean[j] - center);
      const double rstd = 1.0 / __builtin_sqrt(square / (double(k.groupSize) * k.pixels) + double(eps));
      stats[2 * group] = static_cast<float>(center);
      stats[2 * group + 1] = static_cast<float>(rstd);
      for (int j = j0; j < j1; ++j) {
        const double scale = rstd * double(gamma[j]);
        a[j] = static_cast<float>(scale);
        b[j] = static_cast<float>(((e != nullptr ? double(e[j]) : 0.0) - center) * scale + double(beta[j]));
      }
    });
  } else {
    for (int j = 0; j < k.n; ++j) {
      a[j] = 1.0f;
      b[j] = e != nullptr ? e[j] : 0.0f;
    }
  }
  k.map([&](auto io, int j, size_t at) __attribute__((always_inline)) {
    io.store(y + at, Activation<Silu>::value(io.load(x + at) * load(a + j) + load(b + j)));
  });
}

template <bool Silu>
void adjoint(const NormBlock& k, const NormAffine& f, float* dx, double* dgamma, double* dbeta, float* de,
             const float* dy, const float* x, bool accumulate) {
  ChannelScratch memory(k.padded, 3, 3);
  float *cz = memory.floats(0), *c0 = memory.floats(1), *ch = memory.floats(2);
  double *sz = memory.doubles(0), *szh = memory.doubles(1), *sh = memory.doubles(2);
  float* dz = scratch(2, size_t(k.pixels) * k.padded);
  double* const sums[] = {sz, szh, sh};
  k.reduce<3>(
      sums, [&](auto io, int i, int j, vf* s) __attribute__((always_inline)) {
        const size_t at = k.at(i, j);
        k.fetch(x, i, j);
        k.fetch(dy, i, j);
        const vf h = f.normalised(io.load(x + at), j);
        const vf d = io.load(dy + at) * Activation<Silu>::first(f.scaled(h, j));
        store(dz + k.local(i, j), d);
        s[0] += d;
        s[1] += d * h;
        s[2] += h;
      });
  k.groups([&](int, int j0, int j1) {
    double mean = 0, slope = 0;
    if (k.grouped)
      for (int j = j0; j < j1; ++j) {
        mean += double(f.gamma[j]) * sz[j] / k.count();
        slope += double(f.gamma[j]) * szh[j] / k.count();
      }
    for (int j = j0; j < j1; ++j) {
      const double r = f.scale[j], gamma = f.gamma[j];
      cz[j] = static_cast<float>(r * gamma);
      c0[j] = static_cast<float>(-r * mean);
      ch[j] = static_cast<float>(-r * slope);
      if (de != nullptr) de[j] += static_cast<float>(r * (gamma * sz[j] - k.pixels * mean - slope * sh[j]));
      if (dgamma != nullptr) {
        dgamma[j] = szh[j];
        dbeta[j] = sz[j];
      }
    }
  });
  k.map2([&](auto io, int i, int j, size_t at) __attribute__((always_inline)) {
    k.fetchToWrite(dx, i, j);
    const vf h = f.normalised(io.load(x + at), j);
    const vf d = load(dz + k.local(i, j)) * load(cz + j) + (load(c0 + j) + h * load(ch + j));
    io.store(dx + at, accumulate ? io.load(dx + at) + d : d);
  });
}

// xhat' = p x' + q + s xhat: the coefficients, from sums over pixels of x' and xhat x'.
struct Tangent {
  float *p, *q, *s;
  double *mean, *slope;  // <x'> and <xhat x'> of the channel's group

  void set(const NormBlock& k, const NormAffine& f, const double* st, const double* sth) const {
    k.groups([&](int, int j0, int j1) {
      double m = 0, c = 0;
      if (k.grouped)
        for (int j = j0; j < j1; ++j) {
          m += st[j] / k.count();
          c += sth[j] / k.count();
        }
      for (int j = j0; j < j1; ++j) {
        const double r = f.scale[j];
        p[j] = f.scale[j];
        q[j] = static_cast<float>(-r * m);
        s[j] = static_cast<float>(-r * c);
        mean[j] = m;
        slope[j] = c;
      }
    });
  }
  FEYNKAC_INLINE vf normalised(const Tangent& t, vf x, vf h, int j) {
    return x * load(t.p + j) + (load(t.q + j) + h * load(t.s + j));
  }
};

template <bool Silu>
void tangent(const NormBlock& k, const NormAffine& f, float* ty, const float* tx, const float* x) {
  ChannelScratch memory(k.padded, 3, 4);
  double *st = memory.doubles(2), *sth = memory.doubles(3);
  const Tangent t = {memory.floats(0), memory.floats(1), memory.floats(2), memory.doubles(0), memory.doubles(1)};
  if (k.grouped) {
    double* const sums[] = {st, sth};
    k.reduce<2>(
        sums, [&](auto io, int i, int j, vf* s) __attribute__((always_inline)) {
          const vf v = io.load(tx + k.at(i, j));
          s[0] += v;
          s[1] += v * f.normalised(io.load(x + k.at(i, j)), j);
        });
  }
  t.set(k, f, st, sth);
  k.map([&](auto io, int j, size_t at) __attribute__((always_inline)) {
    const vf h = f.normalised(io.load(x + at), j);
    const vf th = Tangent::normalised(t, io.load(tx + at), h, j);
    io.store(ty + at, th * load(f.gamma + j) * Activation<Silu>::first(f.scaled(h, j)));
  });
}

template <bool Silu>
void second(const NormBlock& k, const NormAffine& f, float* dx, double* dgamma, double* dbeta, float* de,
            const float* by, const float* ay, const float* tx, const float* x, bool accumulate) {
  ChannelScratch memory(k.padded, 8, 10);
  const Tangent t = {memory.floats(0), memory.floats(1), memory.floats(2), memory.doubles(0), memory.doubles(1)};
  float *cw = memory.floats(3), *cu = memory.floats(4), *ct = memory.floats(5), *c0 = memory.floats(6),
        *ch = memory.floats(7);
  double *st = memory.doubles(2), *sth = memory.doubles(3), *sh = memory.doubles(4), *sw = memory.doubles(5),
         *swh = memory.doubles(6), *su = memory.doubles(7), *suh = memory.doubles(8), *sut = memory.doubles(9);
  double* const tangentSums[] = {st, sth, sh};
  k.reduce<3>(
      tangentSums, [&](auto io, int i, int j, vf* s) __attribute__((always_inline)) {
        k.fetch(tx, i, j);
        k.fetch(x, i, j);
        const vf v = io.load(tx + k.at(i, j)), h = f.normalised(io.load(x + k.at(i, j)), j);
        s[0] += v;
        s[1] += v * h;
        s[2] += h;
      });
  t.set(k, f, st, sth);
  float *w = scratch(2, 2 * size_t(k.pixels) * k.padded), *u = w + size_t(k.pixels) * k.padded;
  double* const adjointSums[] = {sw, swh, su, suh, sut};
  k.reduce<5>(
      adjointSums, [&](auto io, int i, int j, vf* s) __attribute__((always_inline)) {
        const size_t at = k.at(i, j);
        k.fetch(ay, i, j);
        k.fetch(by, i, j);
        const vf h = f.normalised(io.load(x + at), j), th = Tangent::normalised(t, io.load(tx + at), h, j);
        vf d1, d2;
        Activation<Silu>::both(f.scaled(h, j), &d1, &d2);
        const vf a = io.load(ay + at), uu = a * d1, ww = io.load(by + at) * d1 + a * d2 * (th * load(f.gamma + j));
        store(w + k.local(i, j), ww);
        store(u + k.local(i, j), uu);
        s[0] += ww;
        s[1] += ww * h;
        s[2] += uu;
        s[3] += uu * h;
        s[4] += uu * th;
      });
  k.groups([&](int, int j0, int j1) {
    double meanW = 0, slopeW = 0, meanU = 0, slopeU = 0,
           stretch = 0;  // <W>, <W xhat>, <U>, <U xhat>, <U xhat'>, W = gamma w
    if (k.grouped)
      for (int j = j0; j < j1; ++j) {
        const double g = double(f.gamma[j]) / k.count();
        meanW += g * sw[j];
        slopeW += g * swh[j];
        meanU += g * su[j];
        slopeU += g * suh[j];
        stretch += g * sut[j];
      }
    for (int j = j0; j < j1; ++j) {
      const double r = f.scale[j], gamma = f.gamma[j], m = t.slope[j];
      const double mean = meanW - r * (m * meanU + slopeU * t.mean[j]), slope = slopeW - 2 * r * m * slopeU + stretch;
      cw[j] = static_cast<float>(r * gamma);
      cu[j] = static_cast<float>(-r * r * m * gamma);
      ct[j] = static_cast<float>(-r * r * slopeU);
      c0[j] = static_cast<float>(-r * mean);
      ch[j] = static_cast<float>(-r * slope);
      if (de != nullptr)
        de[j] += static_cast<float>(
            r * (gamma * sw[j] - r * (m * gamma * su[j] + slopeU * st[j]) - k.pixels * mean - slope * sh[j]));
      if (dgamma != nullptr) {
        dgamma[j] = swh[j] + sut[j];
        dbeta[j] = sw[j];
      }
    }
  });
  k.map2([&](auto io, int i, int j, size_t at) __attribute__((always_inline)) {
    k.fetchToWrite(dx, i, j);
    const vf h = f.normalised(io.load(x + at), j);
    const vf d = (load(w + k.local(i, j)) * load(cw + j) + load(u + k.local(i, j)) * load(cu + j)) +
                 (io.load(tx + at) * load(ct + j) + (load(c0 + j) + h * load(ch + j)));
    io.store(dx + at, accumulate ? io.load(dx + at) + d : d);
  });
}

// dgamma and dbeta of each sample [batch, 2, channels], added in the order of the samples, or each to its own row.
class SampleGradients {
 public:
  SampleGradients(bool wanted, const NormShape& s) : s_(s) {
    if (wanted) partial_ = reinterpret_cast<double*>(scratch(3, 4 * size_t(s.batch) * s.channels));
  }
  double* gamma(const NormBlock& k) const { return at(k, 0); }
  double* beta(const NormBlock& k) const { return at(k, 1); }
  void addTo(float* dgamma, float* dbeta) const {
    if (dgamma == nullptr) return;
    const int rows = s_.rowAffine ? s_.batch : 1, each = s_.batch / rows;
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < s_.channels; ++c) {
        double dg = 0, db = 0;
        for (int b = r * each; b < (r + 1) * each; ++b) {
          dg += partial_[(2 * size_t(b)) * s_.channels + c];
          db += partial_[(2 * size_t(b) + 1) * s_.channels + c];
        }
        dgamma[size_t(r) * s_.channels + c] += static_cast<float>(dg);
        dbeta[size_t(r) * s_.channels + c] += static_cast<float>(db);
      }
  }

 private:
  double* at(const NormBlock& k, int which) const {
    return partial_ == nullptr ? nullptr : partial_ + (2 * size_t(k.sample) + which) * s_.channels + k.first;
  }
  NormShape s_;
  double* partial_ = nullptr;
};

FEYNKAC_INLINE float* offset(float* p, size_t n) { return p == nullptr ? nullptr : p + n; }
FEYNKAC_INLINE const float* offset(const float* p, size_t n) { return p == nullptr ? nullptr : p + n; }

}  // namespace

void CpuKernels::run(const op::Norm& o) {
  const NormShape& s = o.s;
  const auto pass = s.silu ? forward<true> : forward<false>;
  forEachBlock(s, [&](const NormBlock& k) {
    pass(k, o.y + k.origin(), offset(o.stats, k.statsOrigin()), o.x + k.origin(), offset(o.e, k.channelOrigin()),
         offset(o.gamma, k.affineOrigin()), offset(o.beta, k.affineOrigin()), s.eps);
  });
}

void CpuKernels::run(const op::NormAdjoint& o) {
  const NormShape& s = o.s;
  const auto pass = s.silu ? adjoint<true> : adjoint<false>;
  const SampleGradients gradients(o.dgamma != nullptr, s);
  forEachBlock(s, [&](const NormBlock& k) {
    const NormAffine f(k, o.e, o.stats, o.gamma, o.beta);
    pass(k, f, o.dx + k.origin(), gradients.gamma(k), gradients.beta(k), offset(o.de, k.channelOrigin()),
         o.dy + k.origin(), o.x + k.origin(), o.accumulate);
  });
  gradients.addTo(o.dgamma, o.dbeta);
}

void CpuKernels::run(const op::NormTangent& o) {
  const auto pass = o.s.silu ? tangent<true> : tangent<false>;
  forEachBlock(o.s, [&](const NormBlock& k) {
    const NormAffine f(k, o.e, o.stats, o.gamma, o.beta);
    pass(k, f, o.ty + k.origin(), o.tx + k.origin(), o.x + k.origin());
  });
}

void CpuKernels::run(const op::NormSecond& o) {
  const NormShape& s = o.s;
  const auto pass = s.silu ? second<true> : second<false>;
  const SampleGradients gradients(o.dgamma != nullptr, s);
  forEachBlock(s, [&](const NormBlock& k) {
    const NormAffine f(k, o.e, o.stats, o.gamma, o.beta);
    pass(k, f, o.dx + k.origin(), gradients.gamma(k), gradients.beta(k), offset(o.de, k.channelOrigin()),
         o.by + k.origin(), o.ay + k.origin(), o.tx + k.origin(), o.x + k.origin(), o.accumulate);
  });
  gradients.addTo(o.dgamma, o.dbeta);
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
