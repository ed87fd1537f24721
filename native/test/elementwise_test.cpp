// Copies, combinations, dot products, embedding and layout changes against plain loops in float64.
#include <cstring>

#include "check.h"
#include "kernels/cpu/runtime/threads.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

void checkCopyChannels(Kernels& k, const std::string& isa) {
  struct Sizes {
    size_t rows;
    int yWidth, yOffset, xWidth, xOffset, n;
  };
  for (const Sizes& s :
       {Sizes{7, 9, 2, 5, 0, 5}, Sizes{1, 1, 0, 1, 0, 1}, Sizes{50, 56, 20, 40, 4, 36}, Sizes{5000, 12, 5, 7, 0, 7}})
    for (const bool accumulate : {false, true}) {
      const std::vector<float> x = randomVector(s.rows * s.xWidth, 1), y0 = randomVector(s.rows * s.yWidth, 2);
      std::vector<float> y = y0, want = y0;
      if (!accumulate)
        for (size_t r = 0; r < s.rows; ++r)
          for (int i = 0; i < s.n; ++i) y[r * s.yWidth + s.yOffset + i] = NAN;
      for (size_t r = 0; r < s.rows; ++r)
        for (int i = 0; i < s.n; ++i) {
          float& to = want[r * s.yWidth + s.yOffset + i];
          to = x[r * s.xWidth + s.xOffset + i] + (accumulate ? to : 0.0f);
        }
      k.copyChannels(y.data(), x.data(), accumulate, s.rows, s.yWidth, s.yOffset, s.xWidth, s.xOffset, s.n);
      CHECK(y == want, "%s: copyChannels of %zu x %d, accumulate %d", isa.c_str(), s.rows, s.n, accumulate);
    }
}

void checkCombine(Kernels& k, const std::string& isa) {
  for (const size_t n : {size_t(1), size_t(37), size_t(16384), size_t(40001)}) {
    const std::vector<float> x1 = randomVector(n, 1), x2 = randomVector(n, 2);
    std::vector<double> both(n), one(n);
    for (size_t i = 0; i < n; ++i) both[i] = 0.7f * double(x1[i]) - 1.3f * double(x2[i]), one[i] = 0.7f * double(x1[i]);
    std::vector<float> y = poisoned(n);
    k.combine(y.data(), 0.7f, x1.data(), -1.3f, x2.data(), n);
    CHECK(relativeError(y, both) < 1e-7, "%s: combine of %zu, error %.2e", isa.c_str(), n, relativeError(y, both));
    y = poisoned(n);
    k.combine(y.data(), 0.7f, x1.data(), 5.0f, nullptr, n);
    CHECK(relativeError(y, one) < 1e-7, "%s: combine of one, error %.2e", isa.c_str(), relativeError(y, one));
    for (const int which : {1, 2}) {
      y = which == 1 ? x1 : x2;
      k.combine(y.data(), 0.7f, which == 1 ? y.data() : x1.data(), -1.3f, which == 2 ? y.data() : x2.data(), n);
      CHECK(relativeError(y, both) < 1e-7, "%s: combine into x%d, error %.2e", isa.c_str(), which,
            relativeError(y, both));
    }
  }
}

void checkDotRows(Kernels& k, const std::string& isa) {
  for (const size_t n : {size_t(1), size_t(49), size_t(3072)}) {
    // A mean of 1000 makes float32 sums lose 1e-4.
    const std::vector<float> x1 = randomVector(3 * n, 1, 1.0f, 1000.0f), x2 = randomVector(3 * n, 2, 1.0f, 1000.0f);
    std::vector<double> out(3, NAN), want(3);
    for (int r = 0; r < 3; ++r)
      for (size_t i = 0; i < n; ++i) want[r] += double(x1[r * n + i]) * double(x2[r * n + i]);
    k.dotRows(out.data(), x1.data(), x2.data(), 3, n);
    CHECK(relativeError(out, want) < 1e-13, "%s: dotRows of %zu, error %.2e", isa.c_str(), n, relativeError(out, want));
  }
}

void checkCombineRows(Kernels& k, const std::string& isa) {
  for (const int rows : {1, 7, 300}) {
    std::vector<double> a(rows), x1(rows), b(rows), x2(rows), out(rows, NAN), want(rows);
    for (int r = 0; r < rows; ++r) {
      a[r] = std::sin(r + 1.), b[r] = std::cos(3. * r), x1[r] = 1e3 + r, x2[r] = std::exp(0.01 * r);
      want[r] = a[r] * x1[r] + b[r] * x2[r];
    }
    k.combineRows(out.data(), a.data(), x1.data(), b.data(), x2.data(), rows);
    CHECK(relativeError(out, want) < 1e-15, "%s: combineRows of %d, error %.2e", isa.c_str(), rows,
          relativeError(out, want));
  }
}

void checkEmbedding(Kernels& k, const std::string& isa) {
  for (const int channels : {2, 4, 20, 256}) {
    const std::vector<float> t{-1.55f, 0.0f, 1.1f, 900.0f};
    std::vector<float> y = poisoned(t.size() * channels);
    std::vector<double> want(y.size());
    const int half = channels / 2;
    for (size_t b = 0; b < t.size(); ++b)
      for (int i = 0; i < half; ++i) {
        const double f = half == 1 ? 1.0 : std::exp(-std::log(10000.0) * i / (half - 1));
        want[b * channels + i] = std::sin(t[b] * f);
        want[b * channels + half + i] = std::cos(t[b] * f);
      }
    k.positionalEmbedding(y.data(), t.data(), static_cast<int>(t.size()), channels);
    CHECK(relativeError(y, want) < 1e-7, "%s: embedding of %d, error %.2e", isa.c_str(), channels,
          relativeError(y, want));
  }
}

void checkLayouts(Kernels& k, const std::string& isa) {
  for (const int channels : {1, 3, 20})
    for (const int pixels : {1, 49, 130})
      for (const bool two : {true, false}) {
        const int batch = 3;
        const size_t n = size_t(batch) * channels * pixels;
        const std::vector<float> a{0.5f, -1.5f, 2.0f}, b{1.0f, 0.25f, -3.0f}, x1 = randomVector(n, 1),
                                                                              x2 = randomVector(n, 2);
        std::vector<float> last = poisoned(n), first = poisoned(n);
        std::vector<double> wantLast(n), wantFirst(n);
        for (int r = 0; r < batch; ++r)
          for (int c = 0; c < channels; ++c)
            for (int p = 0; p < pixels; ++p) {
              const size_t cp = (size_t(r) * channels + c) * pixels + p, pc = (size_t(r) * pixels + p) * channels + c;
              wantLast[pc] = a[r] * double(x1[cp]) + (two ? b[r] * double(x2[cp]) : 0.0);
              wantFirst[cp] = (two ? a[r] * double(x1[cp]) : 0.0) + b[r] * double(x2[pc]);
            }
        k.toChannelsLast(last.data(), a.data(), x1.data(), b.data(), two ? x2.data() : nullptr, batch, channels,
                         pixels);
        k.toChannelsFirst(first.data(), a.data(), two ? x1.data() : nullptr, b.data(), x2.data(), batch, channels,
                          pixels);
        CHECK(relativeError(last, wantLast) < 1e-7, "%s: toChannelsLast %d x %d, error %.2e", isa.c_str(), channels,
              pixels, relativeError(last, wantLast));
        CHECK(relativeError(first, wantFirst) < 1e-7, "%s: toChannelsFirst %d x %d, error %.2e", isa.c_str(), channels,
              pixels, relativeError(first, wantFirst));
      }
}

}  // namespace

int main() {
  for (const int threads : {1, 3})
    for (auto& [isa, k] : allKernels()) {
      setThreadCount(threads);
      checkCopyChannels(*k, isa);
      checkCombine(*k, isa);
      checkDotRows(*k, isa);
      checkCombineRows(*k, isa);
      checkEmbedding(*k, isa);
      checkLayouts(*k, isa);
    }
  return report("elementwise");
}
