// Copies, combinations, dot products, margins, embedding, modulation and layout changes against plain loops in float64.
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
      k.run(op::CopyChannels{y.data(), x.data(), accumulate, s.rows, s.yWidth, s.yOffset, s.xWidth, s.xOffset, s.n});
      CHECK(y == want, "%s: copyChannels of %zu x %d, accumulate %d", isa.c_str(), s.rows, s.n, accumulate);
    }
}

void checkCombine(Kernels& k, const std::string& isa) {
  for (const size_t n : {size_t(1), size_t(37), size_t(16384), size_t(40001)}) {
    const std::vector<float> x1 = randomVector(n, 1), x2 = randomVector(n, 2);
    std::vector<double> both(n), one(n);
    for (size_t i = 0; i < n; ++i) both[i] = 0.7f * double(x1[i]) - 1.3f * double(x2[i]), one[i] = 0.7f * double(x1[i]);
    std::vector<float> y = poisoned(n);
    k.run(op::Combine{y.data(), 0.7f, x1.data(), -1.3f, x2.data(), n});
    CHECK(relativeError(y, both) < 1e-7, "%s: combine of %zu, error %.2e", isa.c_str(), n, relativeError(y, both));
    y = poisoned(n);
    k.run(op::Combine{y.data(), 0.7f, x1.data(), 5.0f, nullptr, n});
    CHECK(relativeError(y, one) < 1e-7, "%s: combine of one, error %.2e", isa.c_str(), relativeError(y, one));
    for (const int which : {1, 2}) {
      y = which == 1 ? x1 : x2;
      k.run(
          op::Combine{y.data(), 0.7f, which == 1 ? y.data() : x1.data(), -1.3f, which == 2 ? y.data() : x2.data(), n});
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
    k.run(op::DotRows{out.data(), x1.data(), x2.data(), 3, n});
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
    k.run(op::CombineRows{out.data(), a.data(), x1.data(), b.data(), x2.data(), rows});
    CHECK(relativeError(out, want) < 1e-15, "%s: combineRows of %d, error %.2e", isa.c_str(), rows,
          relativeError(out, want));
  }
}

// A crop of the result gives back what was there, and so does the transpose: the same loop from y to x.
void checkPad(Kernels& k, const std::string& isa) {
  struct Sizes {
    int batch, height, width, channels, margin;
  };
  for (const Sizes& s : {Sizes{1, 1, 1, 1, 1}, Sizes{2, 3, 5, 1, 2}, Sizes{1, 5, 4, 7, 1}, Sizes{3, 4, 3, 20, 3},
                         Sizes{1, 9, 8, 36, 1}, Sizes{2, 3, 4, 5, 0}, Sizes{5, 40, 1, 130, 1}})
    for (const bool crop : {false, true})
      for (const bool accumulate : {false, true}) {
        const int large[] = {s.height + 2 * s.margin, s.width + 2 * s.margin}, small[] = {s.height, s.width};
        const int *from = crop ? large : small, *to = crop ? small : large, margin = crop ? -s.margin : s.margin;
        const size_t each = size_t(s.batch) * s.channels;
        const std::vector<float> x = randomVector(each * from[0] * from[1], 1),
                                 y0 = randomVector(each * to[0] * to[1], 2);
        std::vector<float> y = accumulate ? y0 : poisoned(y0.size()), want(y0.size());
        for (int b = 0; b < s.batch; ++b)
          for (int i = 0; i < to[0]; ++i)
            for (int j = 0; j < to[1]; ++j)
              for (int c = 0; c < s.channels; ++c) {
                const int row = i - margin, column = j - margin;
                const bool inside = row >= 0 && row < from[0] && column >= 0 && column < from[1];
                const size_t at = ((size_t(b) * to[0] + i) * to[1] + j) * s.channels + c;
                want[at] = accumulate ? y0[at] : 0.0f;
                if (inside) want[at] += x[((size_t(b) * from[0] + row) * from[1] + column) * s.channels + c];
              }
        k.run(op::Pad{y.data(), x.data(), margin, accumulate, s.batch, from[0], from[1], s.channels});
        CHECK(y == want, "%s: pad %d x %d x %d x %d by %d, accumulate %d", isa.c_str(), s.batch, from[0], from[1],
              s.channels, margin, accumulate);
      }
}

void checkEmbedding(Kernels& k, const std::string& isa) {
  for (const int channels : {2, 6, 20, 256})
    for (const std::vector<double>& t : {std::vector<double>{-1.55, 0, 1.1, 900, 1e5 + 1e-7}, {0.3}})
      for (const bool cosFirst : {false, true}) {
        const int half = channels / 2;
        std::vector<float> y = poisoned(t.size() * channels), want(y.size());
        std::vector<double> freqs(half);
        for (int i = 0; i < half; ++i) freqs[i] = std::exp(-9.21 * i / half) * (i % 5 == 4 ? 100 : 1);
        for (size_t b = 0; b < t.size(); ++b)
          for (int i = 0; i < half; ++i) {
            want[b * channels + (cosFirst ? half : 0) + i] = static_cast<float>(std::sin(t[b] * freqs[i]));
            want[b * channels + (cosFirst ? 0 : half) + i] = static_cast<float>(std::cos(t[b] * freqs[i]));
          }
        k.run(op::NoiseEmbedding{y.data(), t.data(), freqs.data(), cosFirst, static_cast<int>(t.size()), channels});
        double worst = 0;  // of one value; a float32 product or frequency would be off by 1e-2 at the largest
        for (size_t i = 0; i < y.size(); ++i)
          worst = std::fmax(worst, std::isnan(y[i]) ? 1 : std::fabs(y[i] - want[i]));
        CHECK(worst < 1e-7, "%s: embedding of %zu x %d, cosFirst %d, error %.2e", isa.c_str(), t.size(), channels,
              cosFirst, worst);
      }
}

// The adjoint against differences of <dRowGamma, rowGamma> + <dRowBeta, rowBeta>, which is linear in each input alone: they are
// exact for any step.
void checkModulate(Kernels& k, const std::string& isa) {
  struct Sizes {
    int batch, channels;
  };
  for (const Sizes& s : {Sizes{1, 1}, Sizes{1, 37}, Sizes{3, 5}, Sizes{13, 70}, Sizes{2, 131}}) {
    const size_t n = size_t(s.batch) * s.channels;
    const std::vector<float> gamma = randomVector(s.channels, 1, 0.4f, 1.0f), beta = randomVector(s.channels, 2),
                             scaleShift = randomVector(2 * n, 3), dRowGamma = randomVector(n, 4),
                             dRowBeta = randomVector(n, 5);
    using Doubles = std::vector<double>;
    const Doubles inputs[] = {Doubles(gamma.begin(), gamma.end()), Doubles(beta.begin(), beta.end()),
                              Doubles(scaleShift.begin(), scaleShift.end())};
    const auto at = [&](const Doubles* in, int b, int c) {  // rowGamma, rowBeta
      const double scale = 1 + in[2][size_t(b) * 2 * s.channels + c];
      return std::pair<double, double>(in[0][c] * scale,
                                       in[1][c] * scale + in[2][(size_t(b) * 2 + 1) * s.channels + c]);
    };
    std::vector<float> rowGamma = poisoned(n), rowBeta = poisoned(n);
    Doubles wantGamma, wantBeta;
    for (int b = 0; b < s.batch; ++b)
      for (int c = 0; c < s.channels; ++c) {
        wantGamma.push_back(at(inputs, b, c).first);
        wantBeta.push_back(at(inputs, b, c).second);
      }
    k.run(op::Modulate{rowGamma.data(), rowBeta.data(), gamma.data(), beta.data(), scaleShift.data(), s.batch,
                       s.channels});
    for (const auto& [got, want] : {std::pair(&rowGamma, &wantGamma), std::pair(&rowBeta, &wantBeta)})
      CHECK(relativeError(*got, *want) < 2e-7, "%s: modulate %d x %d, error %.2e", isa.c_str(), s.batch, s.channels,
            relativeError(*got, *want));

    // gradients of gamma and beta are added to 2
    std::vector<float> got[] = {std::vector<float>(s.channels, 2.0f), std::vector<float>(s.channels, 2.0f),
                                poisoned(2 * n)};
    k.run(op::ModulateAdjoint{got[0].data(), got[1].data(), got[2].data(), dRowGamma.data(), dRowBeta.data(),
                              gamma.data(), beta.data(), scaleShift.data(), s.batch, s.channels});
    for (int input = 0; input < 3; ++input) {
      Doubles want, moved[] = {inputs[0], inputs[1], inputs[2]};
      for (size_t i = 0; i < inputs[input].size(); ++i) {
        const int c = static_cast<int>(i % s.channels);  // the only channel that it reaches
        const auto loss = [&](double step) {
          moved[input][i] = inputs[input][i] + step;
          double sum = 0;
          for (int b = 0; b < s.batch; ++b) {
            const auto [g, h] = at(moved, b, c);
            sum += dRowGamma[size_t(b) * s.channels + c] * g + dRowBeta[size_t(b) * s.channels + c] * h;
          }
          return sum;
        };
        want.push_back((loss(1) - loss(-1)) / 2 + (input < 2 ? 2 : 0));
        moved[input][i] = inputs[input][i];
      }
      CHECK(relativeError(got[input], want) < 2e-7, "%s: modulateAdjoint %d x %d, input %d, error %.2e", isa.c_str(),
            s.batch, s.channels, input, relativeError(got[input], want));
    }
  }
  // 1e4 and its opposite in turns on a gradient of 1e-2: sums in float32 would keep two digits of it
  const int batch = 301;
  std::vector<float> dRow(batch), zeros(2 * batch), scaleShift(2 * batch), one{1.0f}, dgamma{0.0f}, dbeta{0.0f};
  double want = 0;
  for (int b = 0; b < batch; ++b) {
    dRow[b] = b == batch - 1 ? 0.37f : (b % 2 ? -1e4f : 1e4f) + 0.01f * static_cast<float>(b);
    want += dRow[b];
  }
  k.run(op::ModulateAdjoint{dgamma.data(), dbeta.data(), zeros.data(), dRow.data(), dRow.data(), one.data(), one.data(),
                            scaleShift.data(), batch, 1});
  for (const float v : {dgamma[0], dbeta[0]})
    CHECK(std::fabs(v - want) < 1e-6 * std::fabs(want), "%s: modulateAdjoint of large values %g, not %g", isa.c_str(),
          v, want);
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
        k.run(op::ToChannelsLast{last.data(), a.data(), x1.data(), b.data(), two ? x2.data() : nullptr, batch, channels,
                                 pixels});
        k.run(op::ToChannelsFirst{first.data(), a.data(), two ? x1.data() : nullptr, b.data(), x2.data(), batch,
                                  channels, pixels});
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
      checkPad(*k, isa);
      checkEmbedding(*k, isa);
      checkModulate(*k, isa);
      checkLayouts(*k, isa);
    }
  return report("elementwise");
}
