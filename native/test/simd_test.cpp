// Vectors of the instruction set this file is compiled for: exp over all of float32, tails, halves.
#include "check.h"

#define FEYNKAC_ISA testing
#include "kernels/cpu/simd.h"

using namespace feynkac::test;
namespace v = feynkac::testing;

namespace {

float expOf(float x) { return v::exp(v::splat(x))[0]; }

void checkExp() {
  const float inf = INFINITY;
  CHECK(expOf(inf) == inf, "exp(inf) = %g", expOf(inf));
  CHECK(expOf(-inf) == 0, "exp(-inf) = %g", expOf(-inf));
  CHECK(std::isnan(expOf(NAN)), "exp(NaN) = %g", expOf(NAN));
  CHECK(expOf(0.0f) == 1 && expOf(-0.0f) == 1 && expOf(1e-40f) == 1, "exp near 0");
  CHECK(expOf(88.8f) == inf && expOf(3e38f) == inf, "overflow");
  CHECK(expOf(-104.1f) == 0 && expOf(-3e38f) == 0, "underflow");
  double worst = 0;
  float at = 0;
  const auto check = [&](float x) {
    const double want = std::exp(double(x));
    if (want > 3.4028234e38) return;
    const double ulp = std::fmax(std::ldexp(1.0, std::ilogb(want) - 23), std::ldexp(1.0, -149));
    const double error = std::abs(double(expOf(x)) - want) / ulp;
    if (!(error <= worst)) worst = error, at = x;
  };
  for (float x = -104.0f; x < 88.8f; x += 1.7e-4f) check(x);
  for (float x = 1e-8f; x < 1.0f; x *= 1.001f) check(x), check(-x);
  CHECK(worst <= 2.0, "exp(%.9g) is off by %.2f ulp", at, worst);
}

void checkSigmoid() {
  for (float x = -120.0f; x < 120.0f; x += 0.0137f) {
    const double want = 1 / (1 + std::exp(-double(x))), got = v::sigmoid(v::splat(x))[0];
    CHECK(std::abs(got - want) <= 4e-7 * want + 2e-38, "sigmoid(%g) = %g, not %g", x, got, want);
  }
}

void checkMemory() {
  for (int n = 0; n < v::kLanes; ++n) {
    std::vector<float> from = randomVector(n + 1, 3), to = poisoned(v::kLanes);
    const v::vf x = v::loadTail(from.data(), n);
    const v::vi mask = v::firstLanes(n);
    v::storeTail(to.data(), x, n);
    for (int i = 0; i < v::kLanes; ++i) {
      CHECK(x[i] == (i < n ? from[i] : 0), "loadTail %d lane %d", n, i);
      CHECK(mask[i] == (i < n ? -1 : 0), "firstLanes %d lane %d", n, i);
      CHECK(i < n ? to[i] == from[i] : std::isnan(to[i]), "storeTail %d lane %d", n, i);
    }
  }
  const std::vector<float> a = randomVector(v::kLanes, 4), b = randomVector(v::kLanes, 5);
  const v::vf x = v::load(a.data()), y = v::load(b.data()), roots = v::sqrt(x * x), top = v::max(x, y),
              low = v::min(x, y);
  double total = 0;
  float peak = a[0];
  for (int i = 0; i < v::kLanes; ++i) {
    total += a[i];
    peak = std::fmax(peak, a[i]);
    CHECK(roots[i] == std::sqrt(a[i] * a[i]), "sqrt lane %d", i);
    CHECK(top[i] == std::fmax(a[i], b[i]) && low[i] == std::fmin(a[i], b[i]), "max or min lane %d", i);
    CHECK((i < v::kLanes / 2 ? v::lower(x)[i] : v::upper(x)[i - v::kLanes / 2]) == double(a[i]), "half lane %d", i);
  }
  CHECK(v::maxLane(x) == peak, "maxLane");
  CHECK(std::abs(v::sum(x) - total) < 1e-5, "sum");
  CHECK(std::abs(v::sum(v::lower(x) + v::upper(x)) - total) < 1e-12, "sum of halves");
}

}  // namespace

int main() {
  checkExp();
  checkSigmoid();
  checkMemory();
  return report("simd");
}
