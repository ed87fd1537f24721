// Losses, gradient norm and Adam against float64, independent of the thread count.
#include <cstring>

#include "check.h"
#include "kernels/cpu/runtime/threads.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

void checkLoss(Kernels& k, const std::string& isa) {
  for (const size_t n : {size_t(1), size_t(75), size_t(3072)}) {
    const int batch = 3;
    const float weight = 0.37f;
    const std::vector<float> g = randomVector(batch * n, 1), target = randomVector(batch * n, 2);
    std::vector<float> v = poisoned(batch * n);
    std::vector<double> losses(batch, NAN), wantLosses(batch), want(batch * n);
    for (int b = 0; b < batch; ++b)
      for (size_t i = b * n; i < (b + 1) * n; ++i) {
        const double d = double(g[i]) - double(target[i]);
        want[i] = 2 * double(weight) * d;
        wantLosses[b] += d * d;
      }
    k.run(op::ProjectionLoss{v.data(), losses.data(), g.data(), target.data(), {weight}, batch, n});
    CHECK(relativeError(v, want) < 2e-7, "%s: v of %zu, error %.2e", isa.c_str(), n, relativeError(v, want));
    CHECK(relativeError(losses, wantLosses) < 2e-7, "%s: losses, error %.2e", isa.c_str(),
          relativeError(losses, wantLosses));
  }
}

// Against softmax by its definition and differences of the losses; far logits must not overflow.
void checkLevels(Kernels& k, const std::string& isa) {
  for (const int batch : {1, 5, 300})
    for (const int levels : {2, 7}) {
      const int n = batch * levels;
      const double weight = 0.31;
      std::mt19937 random(n);
      std::normal_distribution<double> normal;
      std::vector<double> energy(n), free(n), slope(n), losses(batch, NAN), residual(n, NAN), wantLosses,
          wantResidual(n);
      std::vector<float> c = poisoned(n);
      std::vector<double> wantC(n);
      std::vector<int32_t> truth(batch);
      for (int i = 0; i < n; ++i) {
        energy[i] = normal(random) + (i % batch == 0 ? 5000 : 0);
        free[i] = 3 * normal(random);
        slope[i] = normal(random);
      }
      for (int b = 0; b < batch; ++b) {
        truth[b] = (b + 1) % levels;
        long double sum = 0;
        const auto weightOf = [&](int j) {
          const int at = j * batch + b, right = truth[b] * batch + b;
          return expl((long double)free[at] - energy[at] - free[right] + energy[right]);
        };
        for (int j = 0; j < levels; ++j) sum += weightOf(j);
        wantLosses.push_back(double(logl(sum)));
        for (int j = 0; j < levels; ++j) {
          const int at = j * batch + b;
          wantResidual[at] = double(weightOf(j) / sum) - (j == truth[b]);
          wantC[at] = -weight * slope[at] * wantResidual[at];
        }
      }
      k.run(op::LevelLoss{c.data(), losses.data(), residual.data(), energy.data(), free.data(), slope.data(),
                          truth.data(), weight, levels, batch});
      const double errors[] = {relativeError(losses, wantLosses), relativeError(residual, wantResidual),
                               relativeError(c, wantC)};
      CHECK(errors[0] < 1e-12 && errors[1] < 1e-12 && errors[2] < 1e-7, "%s: %d levels of %d, errors %.2e %.2e %.2e",
            isa.c_str(), levels, batch, errors[0], errors[1], errors[2]);
    }
}

void checkSumSquares(Kernels& k, const std::string& isa) {
  for (const size_t n : {size_t(1), size_t(49), size_t(16385), size_t(300007)}) {
    const std::vector<float> g = randomVector(n, 3, 1.0f, 100.0f);
    long double exact = 0;  // a float64 sum in one line would be off by more than ours
    for (const float x : g) exact += double(x) * double(x);
    const double want = static_cast<double>(exact);
    double once = NAN;
    for (const int threads : {1, 2, 3}) {
      setThreadCount(threads);
      double out = NAN;
      k.run(op::SumSquares{&out, g.data(), n});
      CHECK(std::abs(out - want) <= 1e-13 * want, "%s: sumSquares of %zu is %.17g, not %.17g", isa.c_str(), n, out,
            want);
      if (threads == 1) once = out;
      CHECK(out == once, "%s: sumSquares with %d threads differs", isa.c_str(), threads);
    }
  }
  std::vector<float> g(40000, 1.0f);
  g[39999] = NAN;
  double out = 0;
  k.run(op::SumSquares{&out, g.data(), g.size()});
  CHECK(std::isnan(out), "%s: sumSquares lost a NaN", isa.c_str());
}

struct State {
  std::vector<float> p, ema, m, v;
  bool operator==(const State& o) const { return p == o.p && ema == o.ema && m == o.m && v == o.v; }
};

// Far from 0, where the rounding of a sum would be large beside it: draws are others with each C++ library.
State initial(size_t n) {
  return {randomVector(n, 1, 0.25f, 1.0f), randomVector(n, 2, 0.25f, 1.0f), std::vector<float>(n, 0.0f),
          std::vector<float>(n, 0.0f)};
}

void checkAdam(Kernels& k, const std::string& isa, double clip) {
  for (const size_t n : {size_t(1), size_t(1000), size_t(16391)}) {
    State s = initial(n), threaded = s;
    std::vector<double> p(s.p.begin(), s.p.end()), ema(s.ema.begin(), s.ema.end()), m(n), v(n);
    for (int step = 1; step <= 20; ++step) {
      const AdamStep a{2e-3, 0.9, 0.99, 1e-8, step, clip, 0.95};
      const std::vector<float> g = randomVector(n, 10 + step, step == 3 ? 40.0f : 0.5f);  // step 3 is the one to clip
      double sumsq = 0;
      for (const float x : g) sumsq += double(x) * double(x);
      const double scale = clip > 0 ? std::fmin(1.0, clip / std::sqrt(sumsq)) : 1.0;
      for (size_t i = 0; i < n; ++i) {
        const double gi = scale * g[i];
        m[i] = a.beta1 * m[i] + (1 - a.beta1) * gi;
        v[i] = a.beta2 * v[i] + (1 - a.beta2) * gi * gi;
        const double mHat = m[i] / (1 - std::pow(a.beta1, step)), vHat = v[i] / (1 - std::pow(a.beta2, step));
        p[i] -= a.lr * mHat / (std::sqrt(vHat) + a.eps);
        ema[i] = a.emaDecay * ema[i] + (1 - a.emaDecay) * p[i];
      }
      setThreadCount(1);
      k.run(op::Adam{s.p.data(), s.ema.data(), s.m.data(), s.v.data(), g.data(), &sumsq, a, n});
      setThreadCount(3);
      k.run(op::Adam{threaded.p.data(), threaded.ema.data(), threaded.m.data(), threaded.v.data(), g.data(), &sumsq, a,
                     n});
    }
    CHECK(s == threaded, "%s: adam with three threads differs", isa.c_str());
    CHECK(relativeError(s.p, p) < 1e-6, "%s: adam of %zu, error %.2e", isa.c_str(), n, relativeError(s.p, p));
    CHECK(relativeError(s.ema, ema) < 1e-6, "%s: average, error %.2e", isa.c_str(), relativeError(s.ema, ema));
    CHECK(relativeError(s.m, m) < 2e-6, "%s: first moment, error %.2e", isa.c_str(), relativeError(s.m, m));
    CHECK(relativeError(s.v, v) < 2e-6, "%s: second moment, error %.2e", isa.c_str(), relativeError(s.v, v));
  }
}

// U p(U^T U) p(..) .. of a matrix with the longer side first, step by step in float64.
std::vector<double> orthogonalised(std::vector<double> x, int rows, int columns) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  for (double& v : x) v /= std::sqrt(squares);
  const bool turned = rows < columns;
  const int tall = std::max(rows, columns), narrow = std::min(rows, columns);
  const auto at = [&](int i, int j) { return turned ? size_t(j) * columns + i : size_t(i) * columns + j; };
  for (int round = 0; round < kMuonRounds; ++round) {
    std::vector<double> gram(narrow * narrow, 0.0), p(narrow * narrow), y(x.size(), 0.0);
    for (int i = 0; i < narrow; ++i)
      for (int j = 0; j < narrow; ++j)
        for (int k = 0; k < tall; ++k) gram[i * narrow + j] += x[at(k, i)] * x[at(k, j)];
    for (int i = 0; i < narrow; ++i)
      for (int j = 0; j < narrow; ++j) {
        double square = 0;
        for (int k = 0; k < narrow; ++k) square += gram[i * narrow + k] * gram[k * narrow + j];
        p[i * narrow + j] = (i == j ? double(kMuonConstant) : 0) + double(kMuonLinear) * gram[i * narrow + j] +
                            double(kMuonSquare) * square;
      }
    for (int i = 0; i < tall; ++i)
      for (int j = 0; j < narrow; ++j)
        for (int k = 0; k < narrow; ++k) y[at(i, j)] += x[at(i, k)] * p[k * narrow + j];
    x = y;
  }
  return x;
}

void checkMuon(Kernels& k, const std::string& isa, double clip) {
  // rank: of the gradient; above the sides: all of it random
  const struct {
    int rows, columns, rank;
  } cases[] = {{1, 1, 9}, {70, 33, 99}, {33, 70, 99}, {7, 150, 99}, {48, 48, 99}, {40, 20, 1}};
  for (const auto& [rows, columns, rank] : cases) {
    const size_t n = size_t(rows) * columns;
    State s = initial(n), threaded = s;
    std::vector<double> p(s.p.begin(), s.p.end()), ema(s.ema.begin(), s.ema.end()), m(n);
    for (int step = 1; step <= 3; ++step) {
      const MuonStep u{0.5, 0.9, clip, 0.95};
      std::vector<float> g = randomVector(n, 10 + step);
      if (rank == 1)
        for (size_t i = 0; i < n; ++i) g[i] = g[i / columns * columns] * g[i % columns + columns];
      double sumsq = 0;
      for (const float x : g) sumsq += double(x) * double(x);
      const double scale = clip > 0 ? std::fmin(1.0, clip / std::sqrt(sumsq)) : 1.0;
      std::vector<double> moved(n);
      for (size_t i = 0; i < n; ++i) {
        m[i] = u.momentum * m[i] + (1 - u.momentum) * scale * g[i];
        moved[i] = u.momentum * m[i] + (1 - u.momentum) * scale * g[i];
      }
      moved = orthogonalised(moved, rows, columns);
      for (size_t i = 0; i < n; ++i) {
        p[i] -= u.lr * kMuonScale * std::sqrt(double(std::max(rows, columns))) * moved[i];
        ema[i] = u.emaDecay * ema[i] + (1 - u.emaDecay) * p[i];
      }
      setThreadCount(1);
      k.run(op::Muon{s.p.data(), s.ema.data(), s.m.data(), g.data(), &sumsq, u, rows, columns});
      setThreadCount(3);
      k.run(op::Muon{threaded.p.data(), threaded.ema.data(), threaded.m.data(), g.data(), &sumsq, u, rows, columns});
    }
    CHECK(s == threaded, "%s: muon with three threads differs", isa.c_str());
    const double errors[] = {relativeError(s.p, p), relativeError(s.ema, ema), relativeError(s.m, m)};
    const double bound = rank == 1 ? 2e-4 : 2e-5;  // all but one of the singular values are rounding, times 485
    CHECK(errors[0] < bound && errors[1] < bound && errors[2] < 2e-6,
          "%s: muon of %d x %d, rank %d, errors %.2e %.2e %.2e", isa.c_str(), rows, columns, rank, errors[0], errors[1],
          errors[2]);
  }
  const size_t n = 12;
  State s = initial(n);
  const std::vector<float> before = s.p;
  const double none = 0;
  k.run(op::Muon{
      s.p.data(), s.ema.data(), s.m.data(), std::vector<float>(n, 0.0f).data(), &none, {1e-3, 0.9, clip, 0.99}, 3, 4});
  CHECK(s.p == before, "%s: muon moved by nothing", isa.c_str());
}

void checkNotFinite(Kernels& k, const std::string& isa) {
  const size_t n = 100;
  for (const double sumsq : {double(NAN), double(INFINITY)}) {
    const State before = initial(n);
    State s = before;
    k.run(op::Adam{s.p.data(),
                   s.ema.data(),
                   s.m.data(),
                   s.v.data(),
                   poisoned(n).data(),
                   &sumsq,
                   {1e-3, 0.9, 0.999, 1e-8, 1, 1.0, 0.99},
                   n});
    CHECK(s == before, "%s: a gradient norm of %g changed something", isa.c_str(), sumsq);
    k.run(op::Muon{s.p.data(), s.ema.data(), s.m.data(), poisoned(n).data(), &sumsq, {1e-3, 0.9, 1.0, 0.99}, 20, 5});
    CHECK(s == before, "%s: a gradient norm of %g moved a matrix", isa.c_str(), sumsq);
  }
}

}  // namespace

int main() {
  for (auto& [isa, k] : allKernels()) {
    checkLoss(*k, isa);
    checkLevels(*k, isa);
    checkSumSquares(*k, isa);
    checkAdam(*k, isa, 0);
    checkAdam(*k, isa, 5.0);
    checkMuon(*k, isa, 0);
    checkMuon(*k, isa, 5.0);
    checkNotFinite(*k, isa);
  }
  return report("optimizer");
}
