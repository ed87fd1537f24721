// Means over pixels and the cross-entropy of several attributes against plain loops in float64, the gradient against finite
// differences.
#include <algorithm>

#include "check.h"
#include "kernels/cpu/runtime/threads.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

void checkPool(Kernels& k, const std::string& isa) {
  struct Sizes {
    int batch, pixels, channels;
  };
  for (const Sizes& s : {Sizes{1, 1, 1}, Sizes{1, 49, 1}, Sizes{3, 7, 5}, Sizes{2, 35, 70}, Sizes{5, 1, 129},
                         Sizes{1, 300, 260}, Sizes{70, 4, 36}}) {
    const size_t n = size_t(s.batch) * s.channels, all = n * s.pixels;
    const std::vector<float> x = randomVector(all, 1, 1.0f, 100.0f), dy = randomVector(n, 2),
                             dx0 = randomVector(all, 3);
    std::vector<double> want(n);
    for (size_t i = 0; i < all; ++i) want[i / s.channels / s.pixels * s.channels + i % s.channels] += x[i];
    for (double& v : want) v /= s.pixels;
    std::vector<float> y = poisoned(n);
    k.run(op::Pool{y.data(), x.data(), s.batch, s.pixels, s.channels});
    CHECK(relativeError(y, want) < 1e-7, "%s: pool %d x %d x %d, error %.2e", isa.c_str(), s.batch, s.pixels,
          s.channels, relativeError(y, want));
    for (const bool accumulate : {false, true}) {
      std::vector<double> spread(all);
      for (size_t i = 0; i < all; ++i)
        spread[i] = double(dy[i / s.channels / s.pixels * s.channels + i % s.channels]) / s.pixels +
                    (accumulate ? double(dx0[i]) : 0.0);
      std::vector<float> dx = accumulate ? dx0 : poisoned(all);
      k.run(op::PoolAdjoint{dx.data(), dy.data(), accumulate, s.batch, s.pixels, s.channels});
      CHECK(relativeError(dx, spread) < 2e-7, "%s: poolAdjoint %d x %d x %d, accumulate %d, error %.2e", isa.c_str(),
            s.batch, s.pixels, s.channels, accumulate, relativeError(dx, spread));
    }
  }
}

using Doubles = std::vector<double>;

// The loss by its definition, on shifted logits as they are small here.
double lossOf(const Doubles& logits, const float* targets, const std::vector<int32_t>& offsets) {
  double loss = 0;
  for (size_t a = 0; a + 1 < offsets.size(); ++a) {
    double sum = 0;
    for (int i = offsets[a]; i < offsets[a + 1]; ++i) sum += std::exp(logits[i]);
    for (int i = offsets[a]; i < offsets[a + 1]; ++i) loss -= targets[i] * std::log(std::exp(logits[i]) / sum);
  }
  return loss;
}

void checkCrossEntropy(Kernels& k, const std::string& isa) {
  const float weight = 0.37f;
  for (const std::vector<int32_t>& offsets :
       {std::vector<int32_t>{0, 1}, {0, 10}, {0, 2, 3, 8}, {0, 33, 100}, {0, 5, 6, 7, 75}})
    for (const int batch : {1, 3, 11}) {
      const int width = offsets.back(), attributes = static_cast<int>(offsets.size()) - 1;
      const std::vector<float> logits = randomVector(size_t(batch) * width, 1, 3.0f);
      std::vector<float> targets(logits.size(), 0.0f);
      for (int b = 0; b < batch; ++b)
        for (int a = 0; a < attributes; ++a) {
          float* block = targets.data() + size_t(b) * width + offsets[a];
          const int n = offsets[a + 1] - offsets[a], kind = (b + a) % 4;
          if (kind == 3) continue;  // unknown
          block[(b * 7 + a) % n] += kind == 2 ? 0.75f : 1.0f;
          if (kind == 2) block[n - 1] += 0.25f;  // probabilities
        }
      Doubles wantLosses, want;
      for (int b = 0; b < batch; ++b) {
        const float* row = logits.data() + size_t(b) * width;
        const float* target = targets.data() + size_t(b) * width;
        const Doubles exact(row, row + width);
        wantLosses.push_back(lossOf(exact, target, offsets));
        for (int i = 0; i < width; ++i) {
          const double h = 1e-4;
          const auto at = [&](double step) {
            Doubles moved = exact;
            moved[i] += step;
            return lossOf(moved, target, offsets);
          };
          want.push_back(weight * (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h));
        }
      }
      Doubles once;
      for (const int threads : {1, 3}) {
        setThreadCount(threads);
        std::vector<float> got = poisoned(logits.size());
        Doubles losses(batch, NAN);
        k.run(op::CrossEntropy{got.data(), losses.data(), logits.data(), targets.data(), offsets.data(), weight, batch,
                               attributes, width});
        double worst = 0;
        for (size_t i = 0; i < got.size(); ++i)
          worst = std::isfinite(got[i]) ? std::max(worst, std::fabs(got[i] - want[i])) : INFINITY;
        CHECK(worst < 1e-7, "%s: gradient of %d x %d, error %.2e", isa.c_str(), batch, width, worst);
        CHECK(relativeError(losses, wantLosses) < 1e-13, "%s: losses of %d x %d, error %.2e", isa.c_str(), batch, width,
              relativeError(losses, wantLosses));
        if (threads == 1) once = losses;
        CHECK(losses == once, "%s: losses with %d threads differ", isa.c_str(), threads);
      }
    }
}

// Logits that float32 exponentials overflow or lose at.
void checkExtremes(Kernels& k, const std::string& isa) {
  const std::vector<float> logits = {-200, 300, 295}, targets = {1, 0, 0};
  const std::vector<int32_t> offsets = {0, 3};
  std::vector<float> d = poisoned(3);
  Doubles losses = {NAN};
  k.run(op::CrossEntropy{d.data(), losses.data(), logits.data(), targets.data(), offsets.data(), 1.0f, 1, 1, 3});
  const double rest = std::exp(-5.0);
  CHECK(relativeError(losses, Doubles{500 + std::log1p(rest)}) < 1e-14, "%s: loss %.17g", isa.c_str(), losses[0]);
  CHECK(relativeError(d, Doubles{-1, 1 / (1 + rest), rest / (1 + rest)}) < 1e-7, "%s: %g %g %g", isa.c_str(), d[0],
        d[1], d[2]);
}

}  // namespace

int main() {
  for (auto& [isa, k] : allKernels()) {
    checkPool(*k, isa);
    checkCrossEntropy(*k, isa);
    checkExtremes(*k, isa);
  }
  return report("classification");
}
