// Down- and upsampling against the formula in float64, the transpose, flags, and independence of the thread count.
#include <cstring>

#include "check.h"
#include "kernels/cpu/runtime/threads.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

struct Case {
  std::vector<float> taps;
  int batch, height, width, channels;  // of the small image
};

// y[small] from x[large], or its transpose: large from small
std::vector<double> reference(const std::vector<float>& x, const Case& c, double gain, bool down) {
  const int n = static_cast<int>(c.taps.size()), pad = (n - 1) / 2, H = 2 * c.height, W = 2 * c.width;
  std::vector<double> y(down ? x.size() / 4 : x.size() * 4);
  for (int b = 0; b < c.batch; ++b)
    for (int i = 0; i < c.height; ++i)
      for (int j = 0; j < c.width; ++j)
        for (int p = 0; p < n; ++p)
          for (int q = 0; q < n; ++q) {
            const int row = 2 * i + p - pad, column = 2 * j + q - pad;
            if (row < 0 || row >= H || column < 0 || column >= W) continue;
            const size_t small = ((size_t(b) * c.height + i) * c.width + j) * c.channels;
            const size_t large = ((size_t(b) * H + row) * W + column) * c.channels;
            const double w = gain * c.taps[p] * c.taps[q];
            for (int k = 0; k < c.channels; ++k) {
              if (down)
                y[small + k] += w * x[large + k];
              else
                y[large + k] += w * x[small + k];
            }
          }
  return y;
}

void checkCase(const Case& c) {
  const size_t small = size_t(c.batch) * c.height * c.width * c.channels;
  const float gain = 1.7f;
  const int n = static_cast<int>(c.taps.size());
  for (const bool down : {true, false})
    for (auto& [isa, k] : allKernels()) {
      const std::string where = isa + (down ? " down " : " up ") + std::to_string(n) + " taps, " +
                                std::to_string(c.height) + " x " + std::to_string(c.width) + " x " +
                                std::to_string(c.channels);
      const std::vector<float> x = randomVector(down ? 4 * small : small, 1);
      const std::vector<double> want = reference(x, c, gain, down);
      const auto compute = [&, &k = k](std::vector<float> y, bool accumulate) {
        if (down)
          k->run(op::Downsample{y.data(), x.data(), c.taps.data(), n, gain, accumulate, c.batch, 2 * c.height,
                                2 * c.width, c.channels});
        else
          k->run(op::Upsample{y.data(), x.data(), c.taps.data(), n, gain, accumulate, c.batch, c.height, c.width,
                              c.channels});
        return y;
      };
      setThreadCount(1);
      const std::vector<float> y = compute(poisoned(want.size()), false);
      CHECK(relativeError(y, want) < 5e-7, "%s: error %.2e", where.c_str(), relativeError(y, want));
      std::vector<double> plus = want;
      for (double& v : plus) v += 1;
      const std::vector<float> added = compute(std::vector<float>(want.size(), 1.0f), true);
      CHECK(relativeError(added, plus) < 5e-7, "%s accumulated: error %.2e", where.c_str(), relativeError(added, plus));
      setThreadCount(3);
      const std::vector<float> again = compute(poisoned(want.size()), false);
      CHECK(std::memcmp(again.data(), y.data(), y.size() * sizeof(float)) == 0, "%s: three threads differ",
            where.c_str());
    }
}

}  // namespace

int main() {
  const std::vector<float> box{0.5f, 0.5f}, binomial{0.125f, 0.375f, 0.375f, 0.125f}, odd{0.2f, 0.5f, 0.3f}, one{1.0f};
  std::vector<float> eight = randomVector(8, 2);
  for (const auto& taps : {box, binomial, odd, one, eight})
    for (const int channels : {1, 5, 20, 36}) {
      checkCase({taps, 2, 3, 5, channels});
      checkCase({taps, 1, 1, 1, channels});
    }
  checkCase({binomial, 1, 8, 8, 64});
  return report("resample");
}
