// Particle kernels of every backend, against float64 references, finite differences and, on CUDA, the CPU.
#include "kernels/common/particles.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "check.h"
#include "kernels/common/random.h"
#include "kernels/cpu/runtime/covariances.h"
#include "kernels/cpu/runtime/posterior_means.h"
#include "kernels/cpu/runtime/threads.h"
#include "particle_backends.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

const NormalKey kKey{0x123456789abcdefull, kPropose, 7, 3};

std::vector<float> referenceNormals(size_t rows, size_t d) {
  std::vector<float> z(rows * d);
  for (size_t r = 0; r < rows; ++r)
    for (size_t i = 0; i < d; ++i) {
      float four[4];
      normalsFrom(philox(kKey.seed, kKey.purpose, kKey.step, uint32_t(kKey.first + r), uint32_t(i / 4)), four);
      z[r * d + i] = four[i % 4];
    }
  return z;
}

double logNormal(double difference, double variance) {
  return -0.5 * (difference * difference / variance + std::log(2 * M_PI * variance));
}

void testNormals(ParticleKernels& k, const char* isa) {
  for (const size_t d : {1, 2, 5, 127, 128, 3073}) {
    const size_t rows = 9;
    auto out = poisoned(rows * d);
    k.combine(out.data(), {nullptr, nullptr, 0, false}, 1, kKey, rows, d);
    const double e = relativeError(out, referenceNormals(rows, d));
    CHECK(e < 5e-7, "%s d=%zu: %g", isa, d, e);
  }
  const size_t n = 1 << 20;  // the same numbers everywhere, so one backend is enough
  if (std::strcmp(isa, "baseline") != 0) return;
  auto z = poisoned(n);
  k.combine(z.data(), {nullptr, nullptr, 0, false}, 1, kKey, 1, n);
  double m1 = 0, m2 = 0, m4 = 0, lag = 0;
  for (size_t i = 0; i < n; ++i) {
    m1 += z[i];
    m2 += double(z[i]) * z[i];
    m4 += std::pow(double(z[i]), 4);
    lag += double(z[i]) * z[(i + 1) % n];
  }
  const double s = std::sqrt(double(n));  // five standard errors each
  CHECK(std::fabs(m1 / n) < 5 / s, "mean %g", m1 / n);
  CHECK(std::fabs(m2 / n - 1) < 5 * std::sqrt(2.) / s, "variance %g", m2 / n);
  CHECK(std::fabs(m4 / n - 3) < 5 * std::sqrt(96.) / s, "fourth moment %g", m4 / n);
  CHECK(std::fabs(lag / n) < 5 / s, "neighbours %g", lag / n);
}

void testPropose(ParticleKernels& k, const char* isa) {
  for (const size_t d : {1, 3, 31, 300})
    for (const bool perCoordinate : {false, true}) {
      const size_t rows = 13;
      const auto x = randomVector(rows * d, 1), g = randomVector(rows * d, 2, 3);
      std::vector<double> v(perCoordinate ? d : 1), tau(v.size());
      for (size_t i = 0; i < v.size(); ++i) v[i] = 0.3 + 0.01 * double(i % 17), tau[i] = 0.2 + 0.02 * double(i % 5);
      auto out = poisoned(rows * d);
      std::vector<double> forward(rows, NAN), backward(rows, NAN), align(rows, NAN), squares(rows, NAN);
      const int stride = perCoordinate ? 1 : 0;
      k.propose(out.data(), forward.data(), backward.data(), align.data(), squares.data(), x.data(), g.data(),
                {v.data(), tau.data(), stride, stride}, kKey, rows, d);
      const auto z = referenceNormals(rows, d);
      for (size_t r = 0; r < rows; ++r) {
        double f = 0, b = 0, a = 0, s = 0;
        for (size_t i = 0; i < d; ++i) {
          const size_t at = r * d + i;
          const double vi = v[i * stride], ti = tau[i * stride], mean = x[at] - vi * g[at];
          CHECK(std::fabs(out[at] - (mean + std::sqrt(ti) * z[at])) < 4e-6, "%s d=%zu", isa, d);
          f += logNormal(out[at] - mean, ti);
          b += logNormal(double(x[at]) - out[at], vi);
          a += double(g[at]) * (double(x[at]) - out[at]);
          s += double(g[at]) * g[at];
        }
        const double scale = 2e-6 * double(d) + 2e-5;
        CHECK(std::fabs(forward[r] - f) < scale, "%s d=%zu forward %g %g", isa, d, forward[r], f);
        CHECK(std::fabs(backward[r] - b) < 10 * scale, "%s d=%zu backward %g %g", isa, d, backward[r], b);
        CHECK(std::fabs(align[r] - a) < 10 * scale, "%s d=%zu alignment %g %g", isa, d, align[r], a);
        CHECK(std::fabs(squares[r] - s) < 10 * scale, "%s d=%zu squares %g %g", isa, d, squares[r], s);
      }
    }
}

void testLinear(ParticleKernels& k, const char* isa) {
  for (const size_t d : {1, 6, 333}) {
    const size_t rows = 11;
    const auto a = randomVector(rows * d, 3), b = randomVector(rows * d, 4);
    const float* terms[] = {a.data(), b.data()};
    for (const bool perRow : {false, true}) {
      std::vector<double> c(perRow ? 2 * rows : 2);
      for (size_t i = 0; i < c.size(); ++i) c[i] = 0.5 - 0.1 * double(i);
      auto out = poisoned(rows * d);
      const LinearTerms linear{terms, c.data(), 2, perRow};
      k.combine(out.data(), linear, 0.25, kKey, rows, d);
      std::vector<double> squares(rows, NAN), wantSquares(rows, 0);
      k.rowSquares(squares.data(), linear, rows, d);
      const auto z = referenceNormals(rows, d);
      std::vector<double> want(rows * d);
      for (size_t r = 0; r < rows; ++r)
        for (size_t i = 0; i < d; ++i) {
          const double y = (perRow ? c[r] : c[0]) * a[r * d + i] + (perRow ? c[rows + r] : c[1]) * b[r * d + i];
          want[r * d + i] = y + 0.25 * z[r * d + i];
          wantSquares[r] += y * y;
        }
      CHECK(relativeError(out, want) < 1e-6, "%s combine d=%zu", isa, d);
      CHECK(relativeError(squares, wantSquares) < 1e-6, "%s rowSquares d=%zu", isa, d);
    }
    std::vector<double> weights(rows), columns(d, NAN), wantColumns(d, 0);
    for (size_t r = 0; r < rows; ++r) weights[r] = double(r) / 55;
    k.columnSquares(columns.data(), a.data(), weights.data(), rows, d);
    for (size_t r = 0; r < rows; ++r)
      for (size_t i = 0; i < d; ++i) wantColumns[i] += weights[r] * double(a[r * d + i]) * a[r * d + i];
    CHECK(relativeError(columns, wantColumns) < 1e-12, "%s columnSquares d=%zu", isa, d);
    std::vector<int32_t> ancestors(rows);
    for (size_t r = 0; r < rows; ++r) ancestors[r] = int32_t((r * 7 + 3) % rows);
    auto gathered = poisoned(rows * d);
    k.gather(gathered.data(), a.data(), ancestors.data(), rows, d * sizeof(float));
    for (size_t r = 0; r < rows; ++r)
      CHECK(std::memcmp(&gathered[r * d], &a[size_t(ancestors[r]) * d], d * 4) == 0, "%s gather d=%zu", isa, d);
  }
  const float inf = INFINITY, one = 1;
  const float* terms[] = {&one, &inf};
  const double c[] = {1, 0};
  float out = NAN;
  k.combine(&out, {terms, c, 2, false}, 0, kKey, 1, 1);
  CHECK(out == 1, "a term with coefficient 0 counts: %g", out);
}

// Products of rows, with one factor and with one per coordinate; the table of factors ends inside a vector.
void testProducts(ParticleKernels& k, const char* isa) {
  for (const size_t d : {1, 3, 8, 31, 128, 129, 516, 3073})
    for (const size_t rows : {1, 11})
      for (const bool perCoordinate : {false, true}) {
        const auto a = randomVector(rows * d, 11), b = randomVector(rows * d, 12, 2), c = randomVector(rows * d, 13, 3);
        std::vector<double> v(perCoordinate ? d : 1), out(rows, NAN), want(rows, 0), size(rows, 0);
        for (size_t i = 0; i < v.size(); ++i) v[i] = 0.4 - 0.1 * double(i % 7);
        k.rowProducts(out.data(), a.data(), b.data(), v.data(), perCoordinate ? 1 : 0, c.data(), rows, d);
        for (size_t i = 0; i < rows * d; ++i) {
          const double y = (a[i] + v[perCoordinate ? i % d : 0] * b[i]) * double(c[i]);
          want[i / d] += y;
          size[i / d] += std::fabs(y);
        }
        for (size_t r = 0; r < rows; ++r)
          CHECK(std::fabs(out[r] - want[r]) < 1e-6 * size[r], "%s products of %zu in row %zu of %zu: %g %g", isa, d, r,
                rows, out[r], want[r]);
      }
}

// Every result is the same with one thread and with several.
void testThreads(ParticleKernels& k) {
  const size_t rows = 301, d = 700;
  const auto x = randomVector(rows * d, 5), g = randomVector(rows * d, 6);
  std::vector<std::vector<float>> outs;
  std::vector<std::vector<double>> sums;
  std::vector<double> w(300000);
  for (size_t i = 0; i < w.size(); ++i) w[i] = double((i * 7919) % 1000);
  const int before = threadCount();
  for (const int threads : {1, 2, 5}) {
    setThreadCount(threads);
    auto out = poisoned(rows * d);
    std::vector<double> f(5 * rows);
    const double v = 0.5, tau = 0.4;
    k.propose(out.data(), &f[0], &f[rows], &f[2 * rows], &f[3 * rows], x.data(), g.data(), {&v, &tau, 0, 0}, kKey, rows,
              d);
    k.rowProducts(&f[4 * rows], x.data(), g.data(), &v, 0, out.data(), rows, d);
    f.push_back(k.logWeightStats(w.data(), w.size()).logSum);
    outs.push_back(out);
    sums.push_back(f);
  }
  setThreadCount(before);
  for (int i = 1; i < 3; ++i) {
    CHECK(outs[i] == outs[0], "moves depend on the threads");
    CHECK(sums[i] == sums[0], "sums depend on the threads");
  }
}

void testLogWeights(ParticleKernels& k) {
  const double inf = INFINITY;
  const auto stats = [&](std::vector<double> lw) { return k.logWeightStats(lw.data(), lw.size()); };
  CHECK(stats({-inf, -inf}).logSum == -inf && stats({-inf, -inf}).ess == 0 && stats({-inf, -inf}).invalid == -1,
        "all -inf");
  CHECK(stats({0, NAN, 1}).invalid == 1 && stats({0, 1, inf}).invalid == 2, "invalid");
  CHECK(stats({-1e308, 1e308}).logSum == 1e308 && stats({-1e308, 1e308}).ess == 1, "range");
  std::vector<double> lw{-inf, 0, 0}, w(3, NAN), term{NAN, 1, 1 + std::log(3.)};
  const double* terms[] = {term.data()};
  const double c = 2;
  const LogWeightStats s = k.reweight(lw.data(), w.data(), terms, &c, 1, -7, 3);
  CHECK(s.invalid == -1 && lw[0] == -inf && w[0] == 0, "a dead particle came back");
  CHECK(std::fabs(w[2] - 0.9) < 1e-15 && std::fabs(s.logSum + 5 - std::log(10.)) < 1e-14, "weights");
  CHECK(std::fabs(s.logSumAgain + 10 - std::log(82.)) < 1e-14, "the increment once more");
}

// What the CPU does, on other inputs than its own tests have: compositions, moves of rows, counts, uniforms.
void testRows(ParticleKernels& k) {
  for (const size_t d : {1, 3, 8, 2052}) {
    const size_t rows = 19;
    const auto a = randomVector(rows * d, 21), b = randomVector(rows * d, 22);
    std::vector<double> ea(rows), eb(rows), weights(rows);
    for (size_t r = 0; r < rows; ++r) {
      ea[r] = std::sin(double(r)) * 5, eb[r] = std::cos(double(r)) * 5, weights[r] = r % 4 == 0 ? 0 : 0.1 * double(r);
    }
    ea[3] = INFINITY;
    eb[5] = NAN;
    const double* energies[] = {ea.data(), eb.data()};
    const float* grads[] = {a.data(), b.data()};
    const double c[] = {0.7, -0.4}, logs[] = {std::log(0.3), std::log(0.7)};
    for (const bool mixture : {false, true}) {
      std::vector<double> energy(rows, NAN), squares(rows, NAN);
      auto grad = poisoned(rows * d);
      const double* of = mixture ? logs : c;
      k.compose(energy.data(), grad.data(), mixture ? nullptr : squares.data(), {energies, grads, of, 2, mixture}, rows,
                d);
      for (size_t r = 0; r < rows; ++r) {
        const double wa = of[0] - ea[r], wb = of[1] - eb[r], most = std::max(wa, wb);
        const double sum = most + std::log(std::exp(wa - most) + std::exp(wb - most));
        const double want = mixture ? -sum : of[0] * ea[r] + of[1] * eb[r];
        CHECK(std::fabs(energy[r] - want) < 1e-12 || (std::isnan(energy[r]) && std::isnan(want)) || energy[r] == want,
              "composed energy %g %g", energy[r], want);
        const double pa = mixture ? std::exp(wa - sum) : of[0], pb = mixture ? std::exp(wb - sum) : of[1];
        double wantSquares = 0;
        for (size_t i = 0; i < d; ++i) {
          const double ga = a[r * d + i], gb = b[r * d + i];
          const double g = std::isnan(sum) && mixture ? 0 : pa * ga + pb * gb;
          CHECK(std::fabs(grad[r * d + i] - g) < 2e-6, "composed gradient %g %g", double(grad[r * d + i]), g);
          wantSquares += of[0] * ga * ga + of[1] * gb * gb;
        }
        if (!mixture)
          CHECK(std::fabs(squares[r] - wantSquares) < 1e-5 + 1e-6 * double(d), "composed squares %g %g", squares[r],
                wantSquares);
      }
    }
    double mean = 0;
    for (size_t i = 0; i < rows * d; ++i) mean += weights[i / d] * double(a[i]) * a[i] / double(d);
    const double got = k.meanSquares(a.data(), weights.data(), rows, d);
    CHECK(std::fabs(got - mean) < 1e-6 * mean, "mean squares %g %g", got, mean);

    std::vector<double> u(rows * d, NAN), logRatio(rows);
    k.uniforms(u.data(), kKey, rows, d);
    bool same = true;
    for (size_t i = 0; i < rows * d; ++i)
      same &= u[i] == uniformAt(kKey.seed, kKey.purpose, kKey.step, uint32_t(kKey.first + i / d), uint32_t(i % d));
    CHECK(same, "uniforms d=%zu", d);

    for (size_t r = 0; r < rows; ++r) logRatio[r] = -0.2 * double(r % 7);
    logRatio[2] = NAN, logRatio[4] = INFINITY, logRatio[6] = -INFINITY;
    std::vector<uint8_t> accepted(rows, 7);
    const size_t count = k.metropolis(accepted.data(), logRatio.data(), {5, kMoment, 9, 2}, rows);
    size_t wantCount = 0;
    for (size_t r = 0; r < rows; ++r) {
      const bool yes = std::log(uniformAt(5, kMoment, 9, uint32_t(2 + r), 0)) < logRatio[r];
      CHECK(accepted[r] == yes, "metropolis row %zu", r);
      wantCount += yes;
    }
    CHECK(count == wantCount && count > 0 && count < rows, "%zu accepted", count);
    auto to = b;
    k.copyAccepted(to.data(), a.data(), accepted.data(), rows, d * sizeof(float));
    for (size_t i = 0; i < rows * d; ++i) CHECK(to[i] == (accepted[i / d] ? a[i] : b[i]), "accepted rows");
  }
  for (const size_t bytes : {1, 7, 8, 48}) {  // rows of any element type
    const size_t rows = 33;
    std::vector<char> in(rows * bytes), out(rows * bytes, 99);
    for (size_t i = 0; i < in.size(); ++i) in[i] = char(i * 31);
    std::vector<int32_t> a(rows);
    for (size_t r = 0; r < rows; ++r) a[r] = int32_t(r * 5 % rows);
    k.gather(out.data(), in.data(), a.data(), rows, bytes);
    for (size_t r = 0; r < rows; ++r)
      CHECK(std::memcmp(&out[r * bytes], &in[size_t(a[r]) * bytes], bytes) == 0, "rows of %zu bytes", bytes);
  }
  std::vector<int32_t> a{5, 5, 0, 3, 5, 69, 69, 0, 64, 3};
  CHECK(k.countDistinct(a.data(), a.size(), 70) == 5, "distinct");
  CHECK(k.areInRange(a.data(), a.size(), 70) && !k.areInRange(a.data(), a.size(), 69), "in range");
  a[1] = -1;
  CHECK(!k.areInRange(a.data(), a.size(), 70), "in range");
}

// Weighted squares of columns at sizes with several chunks of rows and blocks of columns, rows without weight left out.
void testColumns(ParticleKernels& k) {
  for (const auto& [rows, d] : {std::pair<size_t, size_t>(5000, 3), std::pair<size_t, size_t>(40, 131)}) {
    auto g = randomVector(rows * d, 31);
    std::vector<double> w(rows), out(d, NAN), want(d, 0);
    for (size_t r = 0; r < rows; ++r) w[r] = r % 3 == 0 ? 0 : 1 / double(r);
    for (size_t i = 0; i < d; ++i) g[i] = NAN;  // row 0 has no weight
    for (size_t i = d; i < rows * d; ++i) want[i % d] += w[i / d] * double(g[i]) * g[i];
    k.columnSquares(out.data(), g.data(), w.data(), rows, d);
    CHECK(relativeError(out, want) < 1e-12, "columns of %zu rows", rows);
    const double mean = std::accumulate(want.begin(), want.end(), 0.0) / double(d);
    CHECK(std::fabs(k.meanSquares(g.data(), w.data(), rows, d) - mean) < 1e-6 * mean, "mean of %zu rows", rows);
  }
}

// A backend beside the CPU: weights are the same up to rounding, and the same every time.
void testAgainstCpu(ParticleKernels& k, ParticleKernels& cpu) {
  for (const size_t n : {1u, 1000u, 2048u, 2049u, 5000u}) {
    std::vector<double> lw(n), term(n), w(n, NAN), wantW(n, NAN);
    for (size_t i = 0; i < n; ++i) lw[i] = i % 5 == 4 ? -INFINITY : 800 * std::sin(double(i)), term[i] = std::cos(i);
    auto wantLw = lw;
    const double* terms[] = {term.data(), term.data()};
    const double c[] = {2, -0.5};
    const auto s = k.reweight(lw.data(), w.data(), terms, c, 2, 3, n);
    const auto want = cpu.reweight(wantLw.data(), wantW.data(), terms, c, 2, 3, n);
    CHECK(std::fabs(s.logSum - want.logSum) < 1e-11 && std::fabs(s.ess - want.ess) < 1e-9 * want.ess && s.invalid == -1,
          "n=%zu: %.17g %.17g, %.17g %.17g", n, s.logSum, want.logSum, s.ess, want.ess);
    CHECK(relativeError(w, wantW) < 1e-12, "weights of %zu", n);
    CHECK(std::fabs(s.logSumAgain - want.logSumAgain) < 1e-11, "%zu weights with the increment once more", n);
    bool same = true;
    for (size_t i = 0; i < n; ++i) same &= lw[i] == wantLw[i] || std::fabs(lw[i] - wantLw[i]) < 1e-12;
    CHECK(same, "log-weights of %zu", n);
    std::vector<double> sums(n, NAN);
    k.sumTerms(sums.data(), terms, c, 2, -0.5, n);
    same = true;
    for (size_t i = 0; i < n; ++i) same &= std::fabs(sums[i] - (c[0] * terms[0][i] + c[1] * terms[1][i] - 0.5)) < 1e-13;
    CHECK(same, "sums of %zu", n);
    k.sumTerms(sums.data(), nullptr, nullptr, 0, 0.25, n);
    CHECK(std::all_of(sums.begin(), sums.end(), [](double v) { return v == 0.25; }), "a constant for %zu", n);
    const auto again = k.logWeightStats(lw.data(), n);
    CHECK(again.logSum == s.logSum && again.ess == s.ess, "stats of %zu", n);
    if (n > 4000) lw[4500] = INFINITY, lw[4100] = NAN;
    const auto before = w;
    CHECK(k.reweight(lw.data(), w.data(), terms, c, 0, 0, n).invalid == (n > 4000 ? 4100 : -1), "first invalid");
    if (n > 4000) CHECK(w == before, "weights in spite of an invalid one");
  }
}

// Against a reference in long double, with rows that do not count, far from zero, and by any number of threads.
void testCovariances() {
  const int before = threadCount();
  for (const size_t n : {1u, 2u, 1000u, 32768u, 70001u}) {
    constexpr size_t kCount = 3;
    std::vector<std::vector<double>> c(kCount, std::vector<double>(n));
    std::vector<double> w(n);
    for (size_t i = 0; i < n; ++i) {
      w[i] = i % 7 == 3 ? 0 : 1 + std::sin(double(i * i));
      for (size_t j = 0; j < kCount; ++j) c[j][i] = 1e4 * double(j) + std::cos(double(i) * double(j + 1));
    }
    if (n > 900) c[0][5] = NAN, c[1][500] = INFINITY, c[2][900] = -INFINITY, c[1][3] = NAN;
    const auto usable = [&](size_t i) {
      return w[i] > 0 && std::all_of(c.begin(), c.end(), [&](const auto& v) { return std::isfinite(v[i]); });
    };
    long double total = 0, squares = 0, mean[kCount] = {}, want[kCount][kCount] = {};
    for (size_t i = 0; i < n; ++i)
      if (usable(i)) {
        total += w[i], squares += static_cast<long double>(w[i]) * w[i];
        for (size_t j = 0; j < kCount; ++j) mean[j] += static_cast<long double>(w[i]) * c[j][i];
      }
    for (auto& m : mean) m /= total;
    for (size_t i = 0; i < n; ++i)
      if (usable(i))
        for (size_t j = 0; j < kCount; ++j)
          for (size_t k = 0; k < kCount; ++k) want[j][k] += w[i] * (c[j][i] - mean[j]) * (c[k][i] - mean[k]) / total;
    const double* columns[] = {c[0].data(), c[1].data(), c[2].data()};
    std::vector<double> first;
    for (const int threads : {1, 2, 5}) {
      setThreadCount(threads);
      std::vector<double> out(kCount * kCount, NAN);
      const double effective = covariances(out.data(), w.data(), columns, kCount, n);
      CHECK(std::fabs(effective - double(total * total / squares)) < 1e-9 * effective, "effective rows of %zu", n);
      for (size_t j = 0; j < kCount; ++j)
        for (size_t k = 0; k < kCount; ++k)
          CHECK(std::fabs(out[j * kCount + k] - double(want[j][k])) < 1e-10, "covariance of %zu and %zu, %zu rows", j,
                k, n);
      if (threads == 1) first = out;
      CHECK(out == first, "covariances depend on the threads");
    }
    std::fill(w.begin(), w.end(), 0.0);
    std::vector<double> none(kCount * kCount, NAN);
    CHECK(covariances(none.data(), w.data(), columns, kCount, n) == 0, "rows without weight count");
    CHECK(std::all_of(none.begin(), none.end(), [](double v) { return v == 0; }), "covariances of none");
  }
  setThreadCount(before);
}

// Against sums in long double, from noise far below the distance between references to far above it; outputs begin as the clean samples.
void testPosteriorMeans() {
  const int before = threadCount();
  constexpr size_t kRows = 7, kCount = 37;
  for (const size_t d : {1, 8, 19}) {
    std::vector<float> references(kCount * d), clean(kRows * d), states(kRows * d), first;
    std::vector<double> sigma(kRows), inner(kRows);
    std::vector<uint8_t> matches(kRows * kCount);
    for (size_t i = 0; i < references.size(); ++i) references[i] = float(std::sin(double(i * i + 3 * i)));
    for (size_t i = 0; i < matches.size(); ++i) matches[i] = i % 3 != 1;
    std::fill(matches.begin(), matches.begin() + kCount, uint8_t{0});  // the first row has its own sample alone
    for (size_t r = 0; r < kRows; ++r) {
      sigma[r] = std::pow(10.0, double(r) - 4);
      inner[r] = r % 2 ? sigma[r] : 0.6 * sigma[r];
      for (size_t p = r * d; p < (r + 1) * d; ++p) {
        clean[p] = float(std::cos(double(p)));
        states[p] = clean[p] + float(inner[r] * std::sin(7.0 * double(p)));
      }
    }
    for (const int threads : {1, 3}) {
      setThreadCount(threads);
      std::vector<float> out = clean;
      posteriorMeans(out.data(), states.data(), sigma.data(), inner.data(), references.data(), matches.data(), kRows,
                     kCount, d);
      if (threads == 1) first = out;
      CHECK(out == first, "posterior means depend on the threads");
    }
    for (size_t r = 0; r < kRows; ++r) {
      std::vector<const float*> samples = {clean.data() + r * d};
      for (size_t i = 0; i < kCount; ++i)
        if (matches[r * kCount + i]) samples.push_back(references.data() + i * d);
      const auto squared = [&](const float* sample) {
        long double sum = 0;
        for (size_t p = 0; p < d; ++p) sum += std::pow(static_cast<long double>(sample[p]) - states[r * d + p], 2);
        return sum;
      };
      long double least = INFINITY, drawn = 0, total = 0;
      for (const float* s : samples) least = std::min(least, squared(s));
      const auto density = [&](const float* s, double t) { return std::exp((least - squared(s)) / (2 * t * t)); };
      for (const float* s : samples) drawn += density(s, inner[r]);
      std::vector<long double> mean(d);
      for (const float* s : samples) {
        const long double w = density(s, sigma[r]) / (inner[r] < sigma[r] ? 1 + density(s, inner[r]) / drawn : 1);
        total += w;
        for (size_t p = 0; p < d; ++p) mean[p] += w * s[p];
      }
      for (size_t p = 0; p < d; ++p)
        CHECK(std::fabs(first[r * d + p] - double(mean[p] / total)) < 2e-5, "posterior mean at noise %g, %zu values",
              sigma[r], d);
    }
  }
  setThreadCount(before);
}

}  // namespace

int main() {
  testCovariances();
  testPosteriorMeans();
  const std::unique_ptr<ParticleKernels> cpu(makeCpuParticleKernels());
  for (const ParticleBackend& b : particleBackends()) {
    ParticleKernels& k = *b.kernels;
    testNormals(k, b.name.c_str());
    testPropose(k, b.name.c_str());
    testLinear(k, b.name.c_str());
    testProducts(k, b.name.c_str());
    testRows(k);
    testColumns(k);
    testLogWeights(k);
    if (b.cuda)
      testAgainstCpu(k, *cpu);
    else
      testThreads(k);
  }
  return report("particles");
}
