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
  Case(const ConvShape& shape, uint32_t seed, float mean = 0) : s(shape), pixels(size_t(s.batch) * s.height * s.width) {
    x = randomVector(pixels * s.in, seed, 1, mean);
    y = randomVector(pixels * s.out, seed + 1);
    w = randomVector(size_t(s.kernel) * s.kernel * s.in * s.out, seed + 2);
    bias = randomVector(s.out, seed + 3);
    residual = randomVector(pixels * s.out, seed + 4);
    otherX = randomVector(pixels * s.in, seed + 5, 1, mean);
    otherY = randomVector(pixels * s.out, seed + 6);
    forward.resize(pixels * s.out);
    dataGrad.resize(pixels * s.in);
    weightGrad.resize(w.size());
    forEachTap(s, [&](size_t p, size_t q, int t) {
      for (int i = 0; i < s.in; ++i)
        for (int o = 0; o < s.out; ++o) {
          const size_t at = (size_t(t) * s.in + i) * s.out + o, in = q * s.in + i, out = p * s.out + o;
          forward[out] += double(x[in]) * w[at];
          dataGrad[in] += double(y[out]) * w[at];
          weightGrad[at] += double(x[in]) * y[out] + double(otherX[in]) * otherY[out];
        }
    });
  }
  ConvShape s;
  size_t pixels;
  std::vector<float> x, y, w, bias, residual, otherX, otherY;
  std::vector<double> forward, dataGrad, weightGrad;  // the last of both terms
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

// Float32 sums of up to a few thousand products. Winograd's sums are nine times shorter, and 5.0 times as large as the result that
// is made of them (root mean square for independent values, from the matrices of winograd.h): 4e-7 to 9e-7 measured.
constexpr double kFloatBound = 2e-6;

// What kernels find in their scratch memory must not matter.
void poisonScratch() {
  constexpr size_t kFloats = size_t(1) << 21;
  for (int slot = 0; slot < 4; ++slot) {
    float* memory = scratch(slot, kFloats);
    std::fill(memory, memory + kFloats, std::numeric_limits<float>::quiet_NaN());
  }
}

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
  k.run(op::ConvPack{packed, c.w.data(), s.kernel, s.in, s.out});
  k.run(op::ConvPackForGrad{packed, c.w.data(), s.kernel, s.in, s.out});

  auto y = poisoned(c.pixels * s.out);
  k.run(op::Conv{y.data(), c.x.data(), packed, nullptr, nullptr, 1.0f, s});
  CHECK(relativeError(y, c.forward) < bound, "%s: forward %g", name, relativeError(y, c.forward));
  y = poisoned(c.pixels * s.out);
  k.run(op::Conv{y.data(), c.x.data(), packed, c.bias.data(), c.residual.data(), 0.7f, s});
  const auto full = finished(c.forward, 0.7f, &c.bias, 0.7f, &c.residual);
  CHECK(relativeError(y, full) < bound, "%s: bias, residual, scale %g", name, relativeError(y, full));
  y = c.residual;
  k.run(op::Conv{y.data(), c.x.data(), packed, nullptr, y.data(), 0.7f, s});
  const auto inPlace = finished(c.forward, 0.7f, nullptr, 0.7f, &c.residual);
  CHECK(relativeError(y, inPlace) < bound, "%s: residual in place %g", name, relativeError(y, inPlace));

  auto dx = poisoned(c.pixels * s.in);
  k.run(op::ConvDataGrad{dx.data(), c.y.data(), packed, 0.7f, false, s});
  const auto scaled = finished(c.dataGrad, 0.7f, nullptr, 0, nullptr);
  CHECK(relativeError(dx, scaled) < bound, "%s: data gradient %g", name, relativeError(dx, scaled));
  dx = c.x;
  k.run(op::ConvDataGrad{dx.data(), c.y.data(), packed, 0.7f, true, s});
  const auto added = finished(c.dataGrad, 0.7f, nullptr, 1, &c.x);
  CHECK(relativeError(dx, added) < bound, "%s: data gradient added %g", name, relativeError(dx, added));
  k.release(packed);
}

void testSums(const std::string& kernels, Kernels& k, const Case& c, double bound) {
  const ConvShape& s = c.s;
  const std::string title = nameOf(kernels, s);
  const char* name = title.c_str();
  std::vector<double> expected(c.weightGrad.size());
  for (size_t i = 0; i < expected.size(); ++i) expected[i] = double(c.w[i]) + 0.7f * c.weightGrad[i];
  auto dw = c.w;
  k.run(op::ConvWeightGrad{dw.data(), {{c.x.data(), c.y.data()}, {c.otherX.data(), c.otherY.data()}}, 2, 0.7f, s});
  CHECK(errorOfSum(dw, expected, c.w) < bound, "%s: weight gradient %g", name, errorOfSum(dw, expected, c.w));

  std::vector<double> biasGrad(s.out);
  for (int o = 0; o < s.out; ++o) biasGrad[o] = c.bias[o];
  for (size_t i = 0; i < c.y.size(); ++i) biasGrad[i % s.out] += 0.7f * double(c.y[i]);
  auto db = c.bias;
  k.run(op::BiasGrad{db.data(), c.y.data(), 0.7f, static_cast<int>(c.pixels), s.out});
  CHECK(relativeError(db, biasGrad) < kFloatBound, "%s: bias gradient %g", name, relativeError(db, biasGrad));
}

// Every pass gives the same bits for any number of threads, and in the forward ones a sample's do not depend on its batch.
void testBits(const std::string& kernels, Kernels& k, const Case& c) {
  const ConvShape& s = c.s;
  struct Results {
    std::vector<float> packed, y, dx, dw;
  };
  const auto run = [&](int threads, int batch) {
    setThreadCount(threads);
    const size_t pixels = c.pixels / s.batch * batch;
    ConvShape part = s;
    part.batch = batch;
    Results r = {poisoned(k.convPackedBytes(s.kernel, s.in, s.out) / sizeof(float)), poisoned(pixels * s.out),
                 poisoned(pixels * s.in), c.w};
    k.run(op::ConvPack{r.packed.data(), c.w.data(), s.kernel, s.in, s.out});
    k.run(op::ConvPackForGrad{r.packed.data(), c.w.data(), s.kernel, s.in, s.out});
    k.run(op::Conv{r.y.data(), c.x.data(), r.packed.data(), c.bias.data(), nullptr, 0.7f, part});
    k.run(op::ConvDataGrad{r.dx.data(), c.y.data(), r.packed.data(), 0.7f, false, part});
    k.run(
        op::ConvWeightGrad{r.dw.data(), {{c.x.data(), c.y.data()}, {c.otherX.data(), c.otherY.data()}}, 2, 0.7f, part});
    return r;
  };
  const std::string title = nameOf(kernels, s);
  const char* name = title.c_str();
  const Results one = run(1, s.batch);
  for (const int threads : {2, 3, 16}) {
    const Results more = run(threads, s.batch);
    CHECK(more.y == one.y && more.dx == one.dx && more.dw == one.dw, "%s: %d threads give other bits", name, threads);
  }
  const Results alone = run(1, 1);
  CHECK(std::equal(alone.y.begin(), alone.y.end(), one.y.begin()), "%s: the batch changes a sample", name);
  CHECK(std::equal(alone.dx.begin(), alone.dx.end(), one.dx.begin()), "%s: the batch changes a gradient", name);
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
  k.run(op::ConvPack{packed, w, c.s.kernel, c.s.in, c.s.out});
  k.run(op::Conv{out, x + 1, packed, nullptr, nullptr, 1.0f, c.s});
  k.download(y.data(), out, bytes(y));
  const double error = relativeError(y, c.forward);
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

// Shapes for each algorithm of the CPU backend (conv_parts.h) at each of its widths of vectors: whole tiles and tails of pixels,
// channels and panels, images smaller than a tile, one piece of work and several.
const ConvShape kCpuShapes[] = {
    // Winograd's
    {1, 4, 4, 16, 16, 3},
    {1, 1, 1, 17, 16, 3},
    {2, 5, 7, 16, 19, 3},
    {3, 6, 9, 20, 36, 3},
    {5, 7, 7, 33, 50, 3},
    {1, 33, 18, 16, 16, 3},
    {2, 12, 13, 128, 96, 3},
    {5, 16, 21, 24, 40, 3},
    {2, 14, 14, 24, 40, 3},
    {3, 8, 12, 32, 16, 3},
    // with weights that are transformed at each use; more squares of the weights' gradient than pieces; less than a chunk of rows
    {1, 9, 10, 150, 130, 3},
    {3, 4, 13, 260, 70, 3},
    {1, 8, 16, 200, 210, 3},
    // by block, where the batch has few tiles, and always
    {5, 5, 6, 256, 256, 3},
    {1, 5, 6, 260, 256, 3},
    // few channels on one side
    {2, 5, 6, 20, 1, 3},
    {1, 7, 3, 33, 2, 3},
    {2, 4, 9, 4, 40, 3},
    {3, 1, 5, 16, 4, 3},
    // 1 x 1
    {130, 1, 1, 70, 90, 1},
    {2, 9, 11, 100, 33, 1},
    {1, 3, 5, 64, 130, 1},
    {3, 8, 8, 5, 3, 1},
    // direct
    {2, 11, 13, 9, 14, 3},
    {3, 2, 2, 64, 64, 3},
};

// Any number of tiles is cut into pieces that hold each of them once.
void testBatches(const std::string& kernels, Kernels& k) {
  const Case c({200, 4, 4, 16, 16, 3}, 3);
  void* packed = k.allocate(k.convPackedBytes(3, 16, 16));
  k.run(op::ConvPack{packed, c.w.data(), 3, 16, 16});
  std::vector<float> all;
  for (int batch = c.s.batch; batch > 0; --batch) {
    ConvShape part = c.s;
    part.batch = batch;
    auto y = poisoned(c.pixels / c.s.batch * batch * c.s.out);
    k.run(op::Conv{y.data(), c.x.data(), packed, nullptr, nullptr, 1.0f, part});
    if (all.empty()) all = y;
    CHECK(std::equal(y.begin(), y.end(), all.begin()), "%s: other samples in a batch of %d", kernels.c_str(), batch);
  }
  CHECK(relativeError(all, c.forward) < kFloatBound, "%s: a batch of %d", kernels.c_str(), c.s.batch);
  k.release(packed);
}

void testCpu() {
  for (auto& [isa, kernels] : cpuKernels()) testBatches(isa, *kernels);
  for (const ConvShape& s : kCpuShapes) {
    const Case c(s, 3, 0.5f);  // images of activations are not centred
    for (auto& [isa, kernels] : cpuKernels()) {
      setThreadCount(1);
      poisonScratch();
      testCase(isa, *kernels, c);
      testBits(isa, *kernels, c);
    }
  }
}

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
  testCpu();
  for (const auto& [name, kernels, bound] : moreCudaKernels())
    for (const ConvShape& s :
         {ConvShape{1, 5, 7, 1, 3, 3}, {1, 6, 5, 36, 20, 3}, {1, 9, 16, 8, 12, 3}, {7, 1, 1, 68, 70, 1}})
      testCase(name, *kernels, Case(s, 5), std::max(bound, kFloatBound));
#ifndef FEYNKAC_NO_CUDA
  testHopper();
#endif
  return report("conv");
}
