// Convolution, its data, weight and bias gradients against float64 loops.
#include <algorithm>

#include "check.h"
#include "kernels/cpu/runtime/threads.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

// Calls f(output pixel, input pixel, tap) for every tap that falls inside the image.
template <class F>
void forEachTap(const ConvShape& s, const F& f) {
  const int pad = (s.kernel - 1) / 2;
  for (int b = 0; b < s.batch; ++b)
    for (int y = 0; y < s.height; ++y)
      for (int x = 0; x < s.width; ++x)
        for (int t = 0; t < s.kernel * s.kernel; ++t) {
          const int v = y + t / s.kernel - pad, u = x + t % s.kernel - pad;
          if (v < 0 || u < 0 || v >= s.height || u >= s.width) continue;
          f((size_t(b) * s.height + y) * s.width + x, (size_t(b) * s.height + v) * s.width + u, t);
        }
}

struct Case {
  explicit Case(const ConvShape& shape, uint32_t seed) : s(shape), pixels(size_t(s.batch) * s.height * s.width) {
    x = randomVector(pixels * s.in, seed);
    y = randomVector(pixels * s.out, seed + 1);
    w = randomVector(size_t(s.kernel) * s.kernel * s.in * s.out, seed + 2);
    bias = randomVector(s.out, seed + 3);
    residual = randomVector(pixels * s.out, seed + 4);
  }
  size_t at(int tap, int i, int o) const { return (size_t(tap) * s.in + i) * s.out + o; }
  std::vector<double> forward() const {
    std::vector<double> out(pixels * s.out);
    forEachTap(s, [&](size_t p, size_t q, int t) {
      for (int i = 0; i < s.in; ++i)
        for (int o = 0; o < s.out; ++o) out[p * s.out + o] += double(x[q * s.in + i]) * w[at(t, i, o)];
    });
    return out;
  }
  std::vector<double> dataGrad() const {
    std::vector<double> out(pixels * s.in);
    forEachTap(s, [&](size_t p, size_t q, int t) {
      for (int i = 0; i < s.in; ++i)
        for (int o = 0; o < s.out; ++o) out[q * s.in + i] += double(y[p * s.out + o]) * w[at(t, i, o)];
    });
    return out;
  }
  std::vector<double> weightGrad(const std::vector<float>& input, const std::vector<float>& adjoint) const {
    std::vector<double> out(w.size());
    forEachTap(s, [&](size_t p, size_t q, int t) {
      for (int i = 0; i < s.in; ++i)
        for (int o = 0; o < s.out; ++o) out[at(t, i, o)] += double(input[q * s.in + i]) * adjoint[p * s.out + o];
    });
    return out;
  }
  ConvShape s;
  size_t pixels;
  std::vector<float> x, y, w, bias, residual;
};

// out = scale (value + bias) + addScale add, in float64
std::vector<double> finished(std::vector<double> value, double scale, const std::vector<float>* bias, double addScale,
                             const std::vector<float>* add) {
  for (size_t i = 0; i < value.size(); ++i) {
    value[i] = scale * (value[i] + (bias ? (*bias)[i % bias->size()] : 0.0));
    if (add) value[i] += addScale * (*add)[i];
  }
  return value;
}

// ||got - expected|| against the norms of what was added up, which may cancel
double errorOfSum(const std::vector<float>& got, const std::vector<double>& expected, const std::vector<float>& start) {
  double change = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double added = expected[i] - start[i];
    change += (got[i] - expected[i]) * (got[i] - expected[i]);
    norm += added * added + double(start[i]) * start[i];
  }
  return std::isfinite(change) ? std::sqrt(change / norm) : INFINITY;
}

constexpr double kFloatBound = 2e-6;  // float32 sums of up to a few thousand products

std::string nameOf(const std::string& kernels, const ConvShape& s) {
  char name[96];
  std::snprintf(name, sizeof name, "%s %dx%dx%d %d->%d kernel %d", kernels.c_str(), s.batch, s.height, s.width, s.in,
                s.out, s.kernel);
  return name;
}

void testProducts(const std::string& kernels, Kernels& k, const Case& c, double bound) {
  const ConvShape& s = c.s;
  const std::string title = nameOf(kernels, s);
  const char* name = title.c_str();
  void* packed = k.allocate(k.convPackedBytes(s.kernel, s.in, s.out));
  k.convPack(packed, c.w.data(), s.kernel, s.in, s.out);

  const auto forward = c.forward();
  auto y = poisoned(c.pixels * s.out);
  k.conv(y.data(), c.x.data(), packed, nullptr, nullptr, 1.0f, s);
  CHECK(relativeError(y, forward) < bound, "%s: forward %g", name, relativeError(y, forward));
  y = poisoned(c.pixels * s.out);
  k.conv(y.data(), c.x.data(), packed, c.bias.data(), c.residual.data(), 0.7f, s);
  const auto full = finished(forward, 0.7f, &c.bias, 0.7f, &c.residual);
  CHECK(relativeError(y, full) < bound, "%s: bias, residual, scale %g", name, relativeError(y, full));
  y = c.residual;
  k.conv(y.data(), c.x.data(), packed, nullptr, y.data(), 0.7f, s);
  const auto inPlace = finished(forward, 0.7f, nullptr, 0.7f, &c.residual);
  CHECK(relativeError(y, inPlace) < bound, "%s: residual in place %g", name, relativeError(y, inPlace));

  const auto dataGrad = c.dataGrad();
  auto dx = poisoned(c.pixels * s.in);
  k.convDataGrad(dx.data(), c.y.data(), packed, 0.7f, false, s);
  const auto scaled = finished(dataGrad, 0.7f, nullptr, 0, nullptr);
  CHECK(relativeError(dx, scaled) < bound, "%s: data gradient %g", name, relativeError(dx, scaled));
  dx = c.x;
  k.convDataGrad(dx.data(), c.y.data(), packed, 0.7f, true, s);
  const auto added = finished(dataGrad, 0.7f, nullptr, 1, &c.x);
  CHECK(relativeError(dx, added) < bound, "%s: data gradient added %g", name, relativeError(dx, added));
  k.release(packed);
}

void testSums(const std::string& kernels, Kernels& k, const Case& c, double bound) {
  const ConvShape& s = c.s;
  const std::string title = nameOf(kernels, s);
  const char* name = title.c_str();
  const auto other = randomVector(c.pixels * s.in, 77), otherAdjoint = randomVector(c.pixels * s.out, 78);
  const auto one = c.weightGrad(c.x, c.y), two = c.weightGrad(other, otherAdjoint);
  std::vector<double> expected(one.size());
  for (size_t i = 0; i < one.size(); ++i) expected[i] = double(c.w[i]) + 0.7f * (one[i] + two[i]);
  const ConvGradTerm terms[] = {{c.x.data(), c.y.data()}, {other.data(), otherAdjoint.data()}};
  std::vector<float> first;
  for (const int threads : {1, 2, 3}) {
    setThreadCount(threads);
    auto dw = c.w;
    k.convWeightGrad(dw.data(), terms, 2, 0.7f, s);
    CHECK(errorOfSum(dw, expected, c.w) < bound, "%s: weight gradient %g", name, errorOfSum(dw, expected, c.w));
    if (threads == 1) first = dw;
    CHECK(dw == first, "%s: the weight gradient depends on the threads", name);
  }

  std::vector<double> biasGrad(s.out);
  for (int o = 0; o < s.out; ++o) biasGrad[o] = c.bias[o];
  for (size_t i = 0; i < c.y.size(); ++i) biasGrad[i % s.out] += 0.7f * double(c.y[i]);
  auto db = c.bias;
  k.biasGrad(db.data(), c.y.data(), 0.7f, static_cast<int>(c.pixels), s.out);
  CHECK(relativeError(db, biasGrad) < kFloatBound, "%s: bias gradient %g", name, relativeError(db, biasGrad));
}

void testCase(const std::string& kernels, Kernels& k, const Case& c, double bound = kFloatBound) {
  testProducts(kernels, k, c, bound);
  testSums(kernels, k, c, bound);
}

#ifndef FEYNKAC_NO_CUDA
// An image that is not aligned to 16 bytes, though its channels are a multiple of 4.
void testUnaligned(const std::string& kernels, Kernels& k, double bound) {
  const Case c({1, 4, 5, 12, 7, 3}, 9);
  const auto bytes = [](const std::vector<float>& v) { return v.size() * sizeof(float); };
  std::vector<float> y(c.pixels * c.s.out);
  auto *x = static_cast<float*>(k.allocate(bytes(c.x) + sizeof(float))),
       *w = static_cast<float*>(k.allocate(bytes(c.w))), *out = static_cast<float*>(k.allocate(bytes(y)));
  void* packed = k.allocate(k.convPackedBytes(c.s.kernel, c.s.in, c.s.out));
  k.upload(x + 1, c.x.data(), bytes(c.x));
  k.upload(w, c.w.data(), bytes(c.w));
  k.convPack(packed, w, c.s.kernel, c.s.in, c.s.out);
  k.conv(out, x + 1, packed, nullptr, nullptr, 1.0f, c.s);
  k.download(y.data(), out, bytes(y));
  const double error = relativeError(y, c.forward());
  CHECK(error < bound, "%s: unaligned %g", nameOf(kernels, c.s).c_str(), error);
  for (void* p : {static_cast<void*>(x), static_cast<void*>(w), static_cast<void*>(out), packed}) k.release(p);
}

// The kernels for Hopper: each of their tiles, with tails of rows and columns, one slice of K and more than there are stages;
// sums in one part and in several.
void testHopper() {
#ifdef FEYNKAC_EMULATED
  auto runs = schedules();
  for (auto& run : runs) run.schedule.sharedBytes = 232448;  // what a block may have on sm_90
#else
  const struct {
    const char* name;
    Schedule schedule;
  } runs[] = {{"on a GPU", {}}};
  if (cudaDevices().list.empty() || !hopper::offered(0)) return;
#endif
  struct Mode {
    const char* name;
    Precision precision;
    double bound;
  };
  for (const auto& [name, schedule] : runs)
    for (const Mode& mode : {Mode{" fp32", Precision::kFp32, kFloatBound},
                             {" tf32", Precision::kTf32, 1e-3},
                             {" bf16", Precision::kBf16, 6e-3}}) {
      const std::string kernels = std::string("hopper ") + name + mode.name;
      Staged staged(std::unique_ptr<Kernels>(hopper::makeKernels(0, mode.precision)), schedule);
      for (const ConvShape& s : {ConvShape{1, 5, 7, 1, 3, 3},
                                 {2, 3, 1, 5, 17, 3},
                                 {7, 1, 1, 12, 40, 1},
                                 {2, 9, 9, 36, 20, 3},
                                 {1, 9, 16, 8, 200, 3},
                                 {1, 9, 16, 136, 72, 1}})
        testProducts(kernels, staged, Case(s, 5), mode.bound);
      for (const ConvShape& s : {ConvShape{1, 3, 5, 72, 68, 3}, {2, 12, 13, 68, 132, 1}, {1, 5, 7, 3, 5, 3}})
        testSums(kernels, staged, Case(s, 5), mode.bound);
      const std::unique_ptr<Kernels> plainly(hopper::makeKernels(0, mode.precision));
      testUnaligned(kernels, *plainly, mode.bound);
      const std::string failure = selfTest(*plainly, mode.precision);
      CHECK(failure.empty(), "%s: %s", kernels.c_str(), failure.c_str());
    }
}
#endif

}  // namespace

int main() {
  const ConvShape smallest[] = {
      {1, 1, 1, 1, 1, 1}, {1, 5, 7, 1, 3, 3}, {2, 3, 1, 5, 17, 3}, {3, 1, 4, 20, 36, 3}, {7, 1, 1, 13, 40, 1}};
  const ConvShape others[] = {{1, 1, 1, 1, 1, 3},   {2, 9, 9, 36, 20, 3}, {1, 16, 16, 3, 32, 3},  {2, 8, 8, 33, 1, 3},
                              {1, 1, 1, 128, 9, 1}, {2, 6, 5, 64, 48, 1}, {2, 20, 20, 65, 70, 3}, {1, 2, 300, 7, 5, 3}};
  uint32_t seed = 1;
  for (const ConvShape& s : smallest) {
    const Case c(s, seed += 10);
    for (auto& [isa, kernels] : allKernels()) testCase(isa, *kernels, c);
  }
  for (const ConvShape& s : others) {
    const Case c(s, seed += 10);
    for (auto& [isa, kernels] : allKernels(false)) testCase(isa, *kernels, c);
  }
  for (const auto& [name, kernels, bound] : moreCudaKernels())
    for (const ConvShape& s :
         {ConvShape{1, 5, 7, 1, 3, 3}, {1, 6, 5, 36, 20, 3}, {1, 9, 16, 8, 12, 3}, {7, 1, 1, 68, 70, 1}})
      testCase(name, *kernels, Case(s, 5), std::max(bound, kFloatBound));
#ifndef FEYNKAC_NO_CUDA
  testHopper();
#endif
  return report("conv");
}
