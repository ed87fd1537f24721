// Energies in closed form, Gaussian mixtures and soft boxes, on every backend: against finite differences, textbook
// formulas and, on CUDA, the CPU.
#include <functional>
#include <stdexcept>

#include "check.h"
#include "kernels/common/gaussian_mixture.h"
#include "kernels/common/particles.h"
#include "particle_backends.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

// E and grad of f at x against central differences of E in float64 arithmetic of the callee.
using EnergyAt = std::function<void(double*, float*, const float*, size_t rows)>;
void testGradient(const char* name, const EnergyAt& f, const std::vector<float>& x, size_t rows, double h,
                  double tolerance) {
  const size_t d = x.size() / rows;
  std::vector<double> e(rows, NAN);
  auto g = poisoned(x.size());
  f(e.data(), g.data(), x.data(), rows);
  auto ignored = poisoned(x.size());
  for (size_t i = 0; i < d; ++i) {
    std::vector<double> up(rows), down(rows);
    auto a = x, b = x;
    for (size_t r = 0; r < rows; ++r) a[r * d + i] += float(h), b[r * d + i] -= float(h);
    f(up.data(), ignored.data(), a.data(), rows);
    f(down.data(), ignored.data(), b.data(), rows);
    for (size_t r = 0; r < rows; ++r) {
      const double slope = (up[r] - down[r]) / (double(a[r * d + i]) - double(b[r * d + i]));
      CHECK(std::fabs(g[r * d + i] - slope) <= tolerance * (1 + std::fabs(slope)), "%s row %zu: %g, differences %g",
            name, r, double(g[r * d + i]), slope);
    }
  }
}

void testMixture(ParticleKernels& k) {
  const size_t d = 3, components = 2, rows = 17;
  const std::vector<double> logWeights{std::log(0.3), std::log(0.7)}, means{0, 1, 2, -1, 0.5, 0};
  const std::vector<double> full{2, 0.5, 0.1, 0.5, 1, 0.2, 0.1, 0.2, 0.6, 0.3, 0, 0, 0, 0.4, 0, 0, 0, 0.5};
  const std::vector<double> diagonal{2, 1, 0.6, 0.3, 0.4, 0.5}, scalar{0.8, 0.3};
  const auto x = randomVector(rows * d, 8, 2);
  for (const auto& [form, cov] :
       {std::pair(CovarianceForm::kFull, full), std::pair(CovarianceForm::kDiagonal, diagonal),
        std::pair(CovarianceForm::kScalar, scalar)}) {
    const GaussianMixture m{components, d, logWeights.data(), means.data(), cov.data(), form};
    testGradient(
        "mixture", [&](double* e, float* g, const float* at, size_t n) { k.mixtureEnergy(e, g, at, 0.4, m, n); }, x,
        rows, 1e-3, 2e-5);
  }
  // a diagonal matrix in all three forms is the same mixture
  std::vector<double> e(rows), reference(rows);
  auto g = poisoned(rows * d);
  const std::vector<double> s{0.5, 0.5}, di(6, 0.5), fu{.5, 0, 0, 0, .5, 0, 0, 0, .5, .5, 0, 0, 0, .5, 0, 0, 0, .5};
  k.mixtureEnergy(reference.data(), g.data(), x.data(), 0.1,
                  {components, d, logWeights.data(), means.data(), s.data(), CovarianceForm::kScalar}, rows);
  for (size_t r = 0; r < rows; ++r) {  // and it is the textbook's formula
    double p = 0;
    for (size_t c = 0; c < components; ++c) {
      double l = logWeights[c];
      for (size_t i = 0; i < d; ++i)
        l -= 0.5 * (std::pow(x[r * d + i] - means[c * d + i], 2) / 0.51 + std::log(2 * M_PI * 0.51));
      p += std::exp(l);
    }
    CHECK(std::fabs(reference[r] + std::log(p)) < 1e-10, "mixture energy %g %g", reference[r], -std::log(p));
  }
  for (const auto& [form, cov] : {std::pair(CovarianceForm::kFull, fu), std::pair(CovarianceForm::kDiagonal, di)}) {
    k.mixtureEnergy(e.data(), g.data(), x.data(), 0.1,
                    {components, d, logWeights.data(), means.data(), cov.data(), form}, rows);
    CHECK(relativeError(e, reference) < 1e-13, "forms of the covariance disagree");
  }
  const size_t n = 200000;
  auto draws = poisoned(n * d);
  k.mixtureSample(draws.data(), {components, d, logWeights.data(), means.data(), full.data(), CovarianceForm::kFull}, 5,
                  n);
  double mean0 = 0, cross = 0;
  for (size_t r = 0; r < n; ++r)
    mean0 += draws[r * d] / double(n), cross += double(draws[r * d]) * draws[r * d + 1] / double(n);
  CHECK(std::fabs(mean0 - 0.7 * -1) < 0.015, "mean of the draws %g", mean0);
  CHECK(std::fabs(cross - (0.3 * 0.5 + 0.7 * -0.5)) < 0.015, "second moment of the draws %g", cross);
  std::vector<double> indefinite{1, 2, 2, 1};
  CHECK(!cholesky(indefinite.data(), 2, 1e-12), "an indefinite matrix has a Cholesky factor");
}

void testSoftBox(ParticleKernels& k) {
  const std::vector<double> lower{-1, -INFINITY, 0.2, -INFINITY}, upper{1, 0.5, INFINITY, INFINITY};
  for (const double t : {0.05, 0.7, 20.0}) {
    const auto x = randomVector(40 * 4, 9, 1.5);
    testGradient(
        "soft box",
        [&](double* e, float* g, const float* at, size_t n) {
          k.softBox(e, g, at, lower.data(), upper.data(), t, n, 4);
        },
        x, 40, 1e-3 * t, 3e-4);
  }
  // one wall: -log Phi, at values of 50-digit arithmetic
  const double inf = INFINITY, low = -inf, high = 0;
  for (const auto& [z, want] : {std::pair(0.0, 0.69314718055994531), std::pair(1.0, 1.8410216450092634),
                                std::pair(10.0, 53.23128515051247), std::pair(30.0, 454.32124395634320)}) {
    const float x = float(z);
    double e = NAN;
    float g = NAN;
    k.softBox(&e, &g, &x, &low, &high, 1, 1, 1);
    CHECK(std::fabs(e - want) < 1e-9 * want, "-log Phi(-%g) = %.17g, expected %.17g", z, e, want);
  }
}

// A backend beside the CPU: the same up to rounding.
void testAgainstCpu(ParticleKernels& k, ParticleKernels& cpu) {
  for (const size_t d : {1, 5, 300})
    for (const size_t components : {1, 3})
      for (const auto form : {CovarianceForm::kScalar, CovarianceForm::kDiagonal, CovarianceForm::kFull}) {
        if (d == 300 && form == CovarianceForm::kFull) continue;
        const size_t rows = 11;
        std::vector<double> logs(components, -std::log(double(components))), means, cov;
        for (const float v : randomVector(components * d, 41)) means.push_back(v);
        if (form == CovarianceForm::kFull)
          for (size_t c = 0; c < components; ++c)
            for (size_t i = 0; i < d; ++i)
              for (size_t j = 0; j < d; ++j) cov.push_back((i == j ? 1.5 : 0) + std::cos(double(c + i + j)) / (4. * d));
        else
          for (size_t i = 0; i < components * (form == CovarianceForm::kScalar ? 1 : d); ++i)
            cov.push_back(0.3 + 0.1 * double(i % 9));
        if (form == CovarianceForm::kFull)
          for (size_t c = 0; c < components; ++c)
            for (size_t i = 0; i < d; ++i)
              for (size_t j = 0; j < i; ++j) cov[(c * d + i) * d + j] = cov[(c * d + j) * d + i];
        const GaussianMixture m{components, d, logs.data(), means.data(), cov.data(), form};
        const auto x = randomVector(rows * d, 42, 2);
        std::vector<double> e(rows, NAN), wantE(rows);
        auto g = poisoned(rows * d), wantG = poisoned(rows * d);
        k.mixtureEnergy(e.data(), g.data(), x.data(), 0.2, m, rows);
        cpu.mixtureEnergy(wantE.data(), wantG.data(), x.data(), 0.2, m, rows);
        CHECK(relativeError(e, wantE) < 1e-12, "mixture of %zu in %zu, form %d: energy", components, d, int(form));
        CHECK(relativeError(g, wantG) < 1e-6, "mixture of %zu in %zu, form %d: gradient", components, d, int(form));
        k.mixtureSample(g.data(), m, 7, rows);
        cpu.mixtureSample(wantG.data(), m, 7, rows);
        CHECK(relativeError(g, wantG) < 1e-6, "mixture of %zu in %zu, form %d: draws", components, d, int(form));
      }
  for (const size_t d : {1, 7, 300}) {
    const size_t rows = 9;
    std::vector<double> lower(d), upper(d), e(rows, NAN), wantE(rows);
    for (size_t i = 0; i < d; ++i) {
      lower[i] = i % 3 == 0 ? -INFINITY : -1 - 0.01 * double(i % 10);
      upper[i] = i % 4 == 1 ? INFINITY : 1;
    }
    const auto x = randomVector(rows * d, 51, 3);
    auto g = poisoned(rows * d), wantG = poisoned(rows * d);
    k.softBox(e.data(), g.data(), x.data(), lower.data(), upper.data(), 0.1, rows, d);
    cpu.softBox(wantE.data(), wantG.data(), x.data(), lower.data(), upper.data(), 0.1, rows, d);
    CHECK(relativeError(e, wantE) < 1e-12 && relativeError(g, wantG) < 1e-6, "soft box d=%zu", d);
  }
  bool threw = false;
  const double zero = 0, negative = -1;
  const float x = 1;
  double e = NAN;
  float g = NAN;
  try {
    k.mixtureEnergy(&e, &g, &x, 0.1, {1, 1, &zero, &zero, &negative, CovarianceForm::kScalar}, 1);
  } catch (const std::invalid_argument&) {
    threw = true;
  }
  CHECK(threw, "a negative covariance was taken");
}

}  // namespace

int main() {
  const std::unique_ptr<ParticleKernels> cpu(makeCpuParticleKernels());
  for (const ParticleBackend& b : particleBackends()) {
    ParticleKernels& k = *b.kernels;
    testSoftBox(k);
    if (!b.emulated) testMixture(k);
    if (b.cuda) testAgainstCpu(k, *cpu);
  }
  return report("densities");
}
