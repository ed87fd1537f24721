// 3 x 3 convolutions between many channels and at most kNarrow: lanes along the many.
#include "conv_parts.h"

namespace feynkac {
namespace FEYNKAC_ISA {
namespace {

// Calls f(Rows<n>()) for 1 <= n <= kNarrow.
template <class F>
void withNarrow(int n, const F& f) {
  withRows<kNarrow>(n, f);
}

// y[pixel][o] = sum over taps, i of x[pixel + tap][i] w[tap][o][i]
template <int O>
void lineOf(float* y, const float* x, const float* w, const Epilogue& e, int line, const ConvShape& s) {
  const int width = roundUp(s.in, kLanes), row = line % s.height;
  for (int column = 0; column < s.width; ++column) {
    const size_t pixel = size_t(line) * s.width + column;
    vf sums[O][2] = {};
    for (int t = 0; t < 9; ++t) {
      const int dy = t / 3 - 1, dx = t % 3 - 1;
      if (row + dy < 0 || row + dy >= s.height || column + dx < 0 || column + dx >= s.width) continue;
      const float *from = x + (ptrdiff_t(pixel) + dy * s.width + dx) * s.in, *taps = w + size_t(t) * O * width;
      const auto add = [&](int k, int half) __attribute__((always_inline)) {
        const vf v = loadSome(from + k, least(kLanes, s.in - k));
#pragma GCC unroll 4
        for (int o = 0; o < O; ++o) sums[o][half] += v * load(taps + o * width + k);
      };
      for (int k = 0; k < s.in; k += 2 * kLanes) {
        add(k, 0);
        if (k + kLanes < s.in) add(k + kLanes, 1);
      }
    }
#pragma GCC unroll 4
    for (int o = 0; o < O; ++o) {
      float v = sum(sums[o][0] + sums[o][1]);
      if (e.bias) v += e.bias[o];
      v *= e.scale;
      if (e.add) v += e.addScale * e.add[pixel * O + o];
      y[pixel * O + o] = v;
    }
  }
}

// dw[tap][many][few] or, where the few are the inputs, dw[tap][few][many]: one tap and one vector of the many. A sum is float32
// within a row of an image and per row after it.
template <int Few>
void sumTap(float* dw, const ConvGradTerm* terms, int nTerms, float scale, int tap, int first, bool fewOut,
            const ConvShape& s) {
  const int many = fewOut ? s.in : s.out, n = least(kLanes, many - first);
  const int dy = tap / 3 - 1, dx = tap % 3 - 1;
  const int y0 = most(0, -dy), y1 = least(s.height, s.height - dy), x0 = most(0, -dx),
            x1 = least(s.width, s.width - dx);
  vf total[Few] = {};
  for (int t = 0; t < nTerms; ++t)
    for (int image = 0; image < s.batch; ++image)
      for (int row = y0; row < y1; ++row) {
        vf sums[Few][2] = {};
        const float* a = terms[t].x + ((size_t(image) * s.height + row + dy) * s.width + x0 + dx) * s.in;
        const float* b = terms[t].dy + ((size_t(image) * s.height + row) * s.width + x0) * s.out;
        const float *wide = (fewOut ? a : b) + first, *narrow = fewOut ? b : a;
        const auto add = [&](int k, int half) __attribute__((always_inline)) {
          const vf v = loadSome(wide + size_t(k) * many, n);
#pragma GCC unroll 4
          for (int c = 0; c < Few; ++c) sums[c][half] += v * narrow[size_t(k) * Few + c];
        };
        for (int k = 0; k < x1 - x0; k += 2) {
          add(k, 0);
          if (k + 1 < x1 - x0) add(k + 1, 1);
        }
#pragma GCC unroll 4
        for (int c = 0; c < Few; ++c) total[c] += sums[c][0] + sums[c][1];
      }
  for (int c = 0; c < Few; ++c)
    for (int lane = 0; lane < n; ++lane) {
      const size_t i = fewOut ? first + lane : c, o = fewOut ? c : first + lane;
      dw[(tap * size_t(s.in) + i) * s.out + o] += scale * total[c][lane];
    }
}

}  // namespace

void narrowConv(float* y, const float* x, const float* packed, const Epilogue& e, const ConvShape& s) {
  parallelFor(s.batch * s.height, [&](int line) {
    withNarrow(s.out, [&](auto o) { lineOf<decltype(o)::kCount>(y, x, packed, e, line, s); });
  });
}

void narrowWeightGrad(float* dw, const ConvGradTerm* terms, int nTerms, float scale, const ConvShape& s) {
  const bool fewOut = s.out <= kNarrow;
  parallelFor(9 * tilesOf(fewOut ? s.in : s.out, kLanes), [&](int piece) {
    withNarrow(fewOut ? s.out : s.in, [&](auto few) {
      sumTap<decltype(few)::kCount>(dw, terms, nTerms, scale, piece % 9, piece / 9 * kLanes, fewOut, s);
    });
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
