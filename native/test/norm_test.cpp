// Group norm and its passes against dual numbers in float64, the adjoint identity, flags, and independence of the
// thread count.
#include <cstring>

#include "check.h"
#include "dual.h"
#include "kernels/cpu/runtime/threads.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

struct Case {
  NormShape s;
  bool shift;
  float mean = 0.3f;        // of x
  double tolerance = 3e-6;  // relative, of everything
};

std::string name(const Case& c) {
  return "batch " + std::to_string(c.s.batch) + " pixels " + std::to_string(c.s.pixels) + " channels " +
         std::to_string(c.s.channels) + " groups " + std::to_string(c.s.groups) + (c.s.silu ? " silu" : "") +
         (c.shift ? " shift" : "") + (c.s.rowAffine ? " rows" : "");
}

// The forward pass of one sample: x [pixels, channels], e, gamma, beta [channels]
template <class T>
std::vector<T> reference(const std::vector<T>& x, const std::vector<T>& e, const std::vector<T>& gamma,
                         const std::vector<T>& beta, const NormShape& s) {
  std::vector<T> y(x.size());
  const int size = s.groups > 0 ? s.channels / s.groups : s.channels;
  for (int g = 0; g < s.channels / size; ++g) {
    T mean = 0.0, variance = 0.0;
    const T count = double(size) * s.pixels;
    const auto each = [&](auto f) {
      for (int p = 0; p < s.pixels; ++p)
        for (int c = g * size; c < (g + 1) * size; ++c) f(size_t(p) * s.channels + c, c);
    };
    each([&](size_t i, int c) { mean += (x[i] + e[c]) / count; });
    each([&](size_t i, int c) { variance += (x[i] + e[c] - mean) * (x[i] + e[c] - mean) / count; });
    const T std = root(variance + T(double(s.eps)));
    each([&](size_t i, int c) {
      const T xe = x[i] + e[c];
      const T z = s.groups > 0 ? gamma[c] * ((xe - mean) / std) + beta[c] : xe;
      y[i] = s.silu ? z / (T(1.0) + exponential(T(0.0) - z)) : z;
    });
  }
  return y;
}

// Where gamma and beta of a sample's channel are, and their number.
size_t affine(const NormShape& s, int b, int channel) { return size_t(s.rowAffine ? b : 0) * s.channels + channel; }
size_t affines(const NormShape& s) { return size_t(s.rowAffine ? s.batch : 1) * s.channels; }

struct Data {
  std::vector<float> x, tx, ay, by, e, gamma, beta;
  explicit Data(const Case& c) {
    const size_t n = size_t(c.s.batch) * c.s.pixels * c.s.channels;
    x = randomVector(n, 1, 1.5f, c.mean);
    tx = randomVector(n, 2);
    ay = randomVector(n, 3);
    by = randomVector(n, 4);
    if (c.shift) e = randomVector(size_t(c.s.batch) * c.s.channels, 5);
    if (c.s.groups > 0) {
      gamma = randomVector(affines(c.s), 6, 0.4f, 1.0f);
      beta = randomVector(affines(c.s), 7, 0.5f);
    }
  }
};

// Where a gradient is taken: an element of one sample's x, or a channel's e, gamma or beta.
enum Input { kX, kE, kGamma, kBeta };

struct Expected {
  std::vector<double> y, ty;
  // for each input and each sample: chosen indices, and the derivatives of <ay, y> and of <by, y> + <ay, J tx>
  struct Gradient {
    std::vector<size_t> index;
    std::vector<std::vector<double>> adjoint, second;  // [sample][index]
  } of[4];
};

Expected expect(const Case& c, const Data& d) {
  const NormShape& s = c.s;
  const size_t each = size_t(s.pixels) * s.channels;
  Expected out;
  const auto evaluate = [&](int b, Input input, size_t index, bool active) {
    std::vector<Dual2> x(each), e(s.channels), gamma(s.channels, 1.0), beta(s.channels);
    for (size_t i = 0; i < each; ++i)
      x[i] = dual2(d.x[b * each + i], d.tx[b * each + i], active && input == kX && i == index);
    for (int k = 0; k < s.channels; ++k) {
      const bool here = active && size_t(k) == index;
      e[k] = dual2(c.shift ? d.e[size_t(b) * s.channels + k] : 0.0f, 0, here && input == kE);
      if (s.groups > 0) {
        gamma[k] = dual2(d.gamma[affine(s, b, k)], 0, here && input == kGamma);
        beta[k] = dual2(d.beta[affine(s, b, k)], 0, here && input == kBeta);
      }
    }
    return reference(x, e, gamma, beta, s);
  };
  for (int b = 0; b < s.batch; ++b)
    for (const Dual2& y : evaluate(b, kX, 0, false)) {
      out.y.push_back(y.a.a);
      out.ty.push_back(y.a.b);
    }
  std::mt19937 engine(9);
  for (const Input input : {kX, kE, kGamma, kBeta}) {
    if (input >= kGamma && s.groups == 0) continue;
    Expected::Gradient& g = out.of[input];
    const size_t n = input == kX ? each : size_t(s.channels);
    for (size_t k = 0; k < n; ++k)
      if (n <= 100 || engine() % n < 100) g.index.push_back(k);
    for (int b = 0; b < s.batch; ++b) {
      g.adjoint.emplace_back();
      g.second.emplace_back();
      for (const size_t index : g.index) {
        const std::vector<Dual2> y = evaluate(b, input, index, true);
        double adjoint = 0, second = 0;
        for (size_t i = 0; i < each; ++i) {
          adjoint += double(d.ay[b * each + i]) * y[i].b.a;
          second += double(d.by[b * each + i]) * y[i].b.a + double(d.ay[b * each + i]) * y[i].b.b;
        }
        g.adjoint.back().push_back(adjoint);
        g.second.back().push_back(second);
      }
    }
  }
  return out;
}

struct Result {
  std::vector<float> y, stats, ty, dx[2], dgamma[2], dbeta[2], de[2];  // [0] adjoint, [1] second
};

const float* orNull(const std::vector<float>& v) { return v.empty() ? nullptr : v.data(); }

// accumulate: into dx filled with 1; gradients of parameters always start from 2.
Result compute(Kernels& k, const Case& c, const Data& d, bool accumulate, bool parameters) {
  const NormShape& s = c.s;
  const bool wanted = parameters && s.groups > 0;
  Result r;
  r.y = r.ty = poisoned(d.x.size());
  r.stats = poisoned(size_t(2) * s.batch * s.groups);
  const float *e = orNull(d.e), *gamma = orNull(d.gamma), *beta = orNull(d.beta);
  k.run(op::Norm{r.y.data(), r.stats.data(), d.x.data(), e, gamma, beta, s});
  k.run(op::NormTangent{r.ty.data(), d.tx.data(), d.x.data(), e, r.stats.data(), gamma, beta, s});
  for (int pass = 0; pass < 2; ++pass) {
    r.dx[pass] = accumulate ? std::vector<float>(d.x.size(), 1.0f) : poisoned(d.x.size());
    r.dgamma[pass].assign(affines(s), 2.0f);
    r.dbeta[pass].assign(affines(s), 2.0f);
    r.de[pass].assign(size_t(s.batch) * s.channels, 2.0f);
    float *dgamma = wanted ? r.dgamma[pass].data() : nullptr, *dbeta = wanted ? r.dbeta[pass].data() : nullptr,
          *de = parameters && c.shift ? r.de[pass].data() : nullptr;
    if (pass == 0)
      k.run(op::NormAdjoint{r.dx[0].data(), dgamma, dbeta, de, d.ay.data(), d.x.data(), e, r.stats.data(), gamma, beta,
                            accumulate, s});
    else
      k.run(op::NormSecond{r.dx[1].data(), dgamma, dbeta, de, d.by.data(), d.ay.data(), d.tx.data(), d.x.data(), e,
                           r.stats.data(), gamma, beta, accumulate, s});
  }
  return r;
}

void close(const char* what, const std::string& where, const std::vector<float>& got, const std::vector<double>& want,
           double tolerance) {
  double size = 0;
  for (const double w : want) size += w * w;
  const double error =
      relativeError(got, want) * std::fmin(1.0, std::sqrt(size));  // absolute where the answer is near 0
  CHECK(error < tolerance, "%s: %s, error %.2e", where.c_str(), what, error);
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

void checkCase(const Case& c) {
  const NormShape& s = c.s;
  const Data d(c);
  const Expected want = expect(c, d);
  const size_t each = size_t(s.pixels) * s.channels;
  for (auto& [isa, k] : allKernels()) {
    const std::string where = isa + " " + name(c);
    setThreadCount(1);
    const Result r = compute(*k, c, d, false, true);
    close("y", where, r.y, want.y, c.tolerance);
    close("tangent", where, r.ty, want.ty, c.tolerance);
    for (int pass = 0; pass < 2; ++pass) {
      const char* label = pass == 0 ? "adjoint" : "second";
      std::vector<float> x, e, gamma, beta;
      std::vector<double> wantX, wantE, wantGamma, wantBeta;
      const auto gradient = [&](Input input) -> const std::vector<std::vector<double>>& {
        return pass == 0 ? want.of[input].adjoint : want.of[input].second;
      };
      for (int b = 0; b < s.batch; ++b) {
        for (size_t j = 0; j < want.of[kX].index.size(); ++j) {
          x.push_back(r.dx[pass][b * each + want.of[kX].index[j]]);
          wantX.push_back(gradient(kX)[b][j]);
        }
        for (size_t j = 0; c.shift && j < want.of[kE].index.size(); ++j) {
          e.push_back(r.de[pass][size_t(b) * s.channels + want.of[kE].index[j]] - 2.0f);
          wantE.push_back(gradient(kE)[b][j]);
        }
      }
      for (const Input input : {kGamma, kBeta}) {
        const std::vector<size_t>& index = want.of[input].index;
        const std::vector<float>& got = (input == kGamma ? r.dgamma : r.dbeta)[pass];
        std::vector<double> total(affines(s));
        for (int b = 0; b < s.batch; ++b)
          for (size_t j = 0; j < index.size(); ++j)
            total[affine(s, b, static_cast<int>(index[j]))] += gradient(input)[b][j];
        for (int b = 0; b < (s.rowAffine ? s.batch : 1); ++b)
          for (const size_t j : index) {
            const size_t at = affine(s, b, static_cast<int>(j));
            (input == kGamma ? gamma : beta).push_back(got[at] - 2.0f);
            (input == kGamma ? wantGamma : wantBeta).push_back(total[at]);
          }
      }
      close((std::string(label) + " x").c_str(), where, x, wantX, c.tolerance);
      close((std::string(label) + " e").c_str(), where, e, wantE, 3 * c.tolerance);
      close((std::string(label) + " gamma").c_str(), where, gamma, wantGamma, c.tolerance);
      close((std::string(label) + " beta").c_str(), where, beta, wantBeta, c.tolerance);
    }
    double left = 0, right = 0, scale = 0;  // <ay, J tx> = <J^T ay, tx>, every element
    for (size_t i = 0; i < d.x.size(); ++i) {
      left += double(d.ay[i]) * r.ty[i];
      right += double(r.dx[0][i]) * d.tx[i];
      scale += std::abs(double(d.ay[i]) * r.ty[i]);
    }
    CHECK(std::abs(left - right) <= c.tolerance * (scale + 1), "%s: <a, J t> %.9g, <J^T a, t> %.9g", where.c_str(),
          left, right);

    const Result added = compute(*k, c, d, true, true), bare = compute(*k, c, d, false, false);
    for (int pass = 0; pass < 2; ++pass) {
      double worst = 0;
      for (size_t i = 0; i < d.x.size(); ++i)
        worst = std::fmax(worst, std::abs(added.dx[pass][i] - (r.dx[pass][i] + 1.0f)));
      CHECK(worst == 0, "%s: accumulated differs by %.2e", where.c_str(), worst);
      CHECK(same(bare.dx[pass], r.dx[pass]), "%s: without parameter gradients dx differs", where.c_str());
      for (const auto* v : {&bare.dgamma[pass], &bare.dbeta[pass], &bare.de[pass]})
        for (const float g : *v) CHECK(g == 2.0f, "%s: a gradient not asked for was written", where.c_str());
    }
    for (const int threads : {2, 3}) {
      setThreadCount(threads);
      const Result t = compute(*k, c, d, false, true);
      bool equal = same(t.y, r.y) && same(t.stats, r.stats) && same(t.ty, r.ty);
      for (int pass = 0; pass < 2; ++pass)
        equal = equal && same(t.dx[pass], r.dx[pass]) && same(t.dgamma[pass], r.dgamma[pass]) &&
                same(t.dbeta[pass], r.dbeta[pass]) && same(t.de[pass], r.de[pass]);
      CHECK(equal, "%s: %d threads differ from one", where.c_str(), threads);
    }
  }
}

// SiLU alone over a wide range, which is also exp of every instruction set.
void checkSilu() {
  std::vector<float> x;
  for (float v = -110.0f; v < 110.0f; v += 0.0113f) x.push_back(v);
  const NormShape s{1, 1, static_cast<int>(x.size()), 0, 0, true, false};
  for (auto& [isa, k] : allKernels()) {
    std::vector<float> y = poisoned(x.size());
    k->run(op::Norm{y.data(), nullptr, x.data(), nullptr, nullptr, nullptr, s});
    for (size_t i = 0; i < x.size(); ++i) {
      const double want = double(x[i]) / (1 + std::exp(-double(x[i])));
      CHECK(std::abs(y[i] - want) <= 4e-7 * std::abs(want) + 2e-38 * std::abs(x[i]), "%s: silu(%g) = %g, not %g",
            isa.c_str(), x[i], y[i], want);
    }
  }
}

}  // namespace

int main() {
  checkSilu();
  const float eps = 1e-5f;
  // batch, pixels, channels, groups, eps, silu, rowAffine; shift
  for (const bool silu : {false, true})
    for (const bool shift : {false, true}) {
      checkCase({{2, 49, 5, 1, eps, silu, false}, shift});
      checkCase({{3, 49, 20, 4, eps, silu, false}, shift});
      checkCase({{2, 1, 20, 4, eps, silu, false}, shift});
      checkCase({{2, 49, 36, 9, eps, silu, false}, shift});
      checkCase({{2, 7, 80, 16, eps, silu, false}, shift});  // blocks of whole groups of 5: 65 and 15 channels
      checkCase({{2, 49, 1, 1, eps, silu, false}, shift});
      checkCase({{2, 49, 20, 0, eps, silu, false}, shift});
      checkCase({{2, 1, 1, 0, eps, silu, false}, shift});
      checkCase({{1, 7, 131, 0, eps, silu, false}, shift});
      checkCase({{3, 49, 20, 4, eps, silu, true}, shift});
      checkCase({{2, 7, 85, 17, eps, silu, true}, shift});  // channels that no vector divides
      checkCase({{2, 49, 1, 1, eps, silu, true}, shift});
    }
  checkCase({{2, 100, 64, 16, eps, true, false}, true});
  checkCase({{2, 600, 6, 2, eps, true, false}, true});  // several slices of the pixels on a GPU
  checkCase({{1, 530, 8, 2, eps, true, false}, true});
  checkCase({{1, 33, 160, 32, 1e-6f, true, false}, true});
  checkCase({{1, 33, 20, 5, eps, true, true}, true});
  checkCase({{9, 1, 36, 9, eps, true, true}, true});
  // A mean far from 0: x - mean has float32's rounding of numbers near 200, 1.5e-5, and not more.
  checkCase({{2, 100, 20, 4, eps, true, false}, false, 200.0f, 3e-5});
  return report("norm");
}
