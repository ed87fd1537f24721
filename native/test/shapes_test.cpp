// Every backend against the best CPU one on shapes drawn at random: shapes_test [seconds] [seed]. Without arguments briefly, on
// small shapes where CUDA kernels run on the CPU and on larger ones on a GPU.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>

#include "check.h"
#include "particle_backends.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

#ifdef FEYNKAC_EMULATED
constexpr double kMostWork = 3e4;  // multiply-adds of one call
constexpr int kMostParticles = 1000;
constexpr unsigned kKinds = 4;  // without attention, which takes seconds there: attention_test has some
#else
constexpr double kMostWork = 3e8;
constexpr int kMostParticles = 2000000;
constexpr unsigned kKinds = 5;
#endif
constexpr double kFloatBound = 1e-5;
constexpr size_t kFewest = 16;  // of fewer sums all may cancel, which no relative error survives

std::mt19937 engine;

// Small numbers as often as large ones.
int upTo(int most) {
  const double u = std::uniform_real_distribution<double>(0, 1)(engine);
  return std::min(most, static_cast<int>(std::exp(u * std::log(most + 1.0))));
}
bool coin() { return (engine() & 1) != 0; }

std::vector<float> normals(size_t n) { return randomVector(n, static_cast<uint32_t>(engine())); }

// What a case computes, one array after another; products say whether a precision may round their factors.
using Results = std::vector<std::vector<float>>;
struct Case {
  std::string name;
  bool products;
  std::function<Results(Kernels&)> run;
};

Case conv() {
  ConvShape s = {};
  do {
    const bool image = engine() % 4 != 0;
    s = {upTo(16), image ? upTo(40) : 1, image ? upTo(40) : 1, upTo(300), upTo(300), image && coin() ? 3 : 1};
  } while (double(s.batch) * s.height * s.width * s.in * s.out * s.kernel * s.kernel > kMostWork);
  const size_t pixels = size_t(s.batch) * s.height * s.width, weights = size_t(s.kernel) * s.kernel * s.in * s.out;
  const auto x = normals(pixels * s.in), dy = normals(pixels * s.out), w = normals(weights), bias = normals(s.out);
  char name[96];
  std::snprintf(name, sizeof name, "convolution %d x %d x %d, %d -> %d, kernel %d", s.batch, s.height, s.width, s.in,
                s.out, s.kernel);
  return {name, true, [=](Kernels& k) {
            void* packed = k.allocate(k.convPackedBytes(s.kernel, s.in, s.out));
            k.run(op::ConvPack{packed, w.data(), s.kernel, s.in, s.out});
            k.run(op::ConvPackForGrad{packed, w.data(), s.kernel, s.in, s.out});
            Results r = {poisoned(pixels * s.out), poisoned(pixels * s.in), std::vector<float>(weights)};
            k.run(op::Conv{r[0].data(), x.data(), packed, bias.data(), dy.data(), 0.7f, s});
            k.run(op::ConvDataGrad{r[1].data(), dy.data(), packed, 0.7f, false, s});
            k.run(op::ConvWeightGrad{r[2].data(), {{x.data(), dy.data()}}, 1, 0.7f, s});
            k.release(packed);
            return r;
          }};
}

Case norm() {
  static const int groups[] = {0, 1, 4, 16, 32};
  NormShape s = {upTo(16), upTo(1000), 1, groups[engine() % 5], 1e-6f, coin(), coin()};
  s.channels = std::max(1, s.groups) * upTo(12);
  while (double(s.batch) * s.pixels * s.channels > kMostWork / 20) s.pixels = (s.pixels + 1) / 2, s.batch = 1;
  if (s.groups > 0) s.pixels = std::max(s.pixels, 32 * s.groups / s.channels);  // few values may have no variance
  const size_t size = size_t(s.batch) * s.pixels * s.channels, shifts = size_t(s.batch) * s.channels;
  const auto x = normals(size), dy = normals(size), by = normals(size), tx = normals(size);
  const size_t affines = s.rowAffine ? shifts : s.channels;
  const auto e = normals(shifts), gamma = normals(affines), beta = normals(affines);
  char name[96];
  std::snprintf(name, sizeof name, "group norm %d x %d x %d, %d groups%s%s", s.batch, s.pixels, s.channels, s.groups,
                s.silu ? ", SiLU" : "", s.rowAffine ? ", rows" : "");
  return {name, false, [=](Kernels& k) {
            const float *g = s.groups > 0 ? gamma.data() : nullptr, *b = s.groups > 0 ? beta.data() : nullptr;
            Results r = {poisoned(size), poisoned(size), poisoned(size), poisoned(size)};
            std::vector<float> stats = poisoned(size_t(2) * s.batch * std::max(1, s.groups));
            k.run(op::Norm{r[0].data(), stats.data(), x.data(), e.data(), g, b, s});
            k.run(op::NormTangent{r[1].data(), tx.data(), x.data(), e.data(), stats.data(), g, b, s});
            k.run(op::NormAdjoint{r[2].data(), nullptr, nullptr, nullptr, dy.data(), x.data(), e.data(), stats.data(),
                                  g, b, false, s});
            k.run(op::NormSecond{r[3].data(), nullptr, nullptr, nullptr, by.data(), dy.data(), tx.data(), x.data(),
                                 e.data(), stats.data(), g, b, false, s});
            return r;
          }};
}

Case attention() {
  AttentionShape s = {};
  do s = {upTo(16), upTo(600), upTo(4), upTo(260)};
  while (double(s.batch) * s.heads * s.tokens * s.tokens * s.channels * 14 > kMostWork);
  const size_t n = size_t(s.batch) * s.tokens * s.heads * s.channels;
  const auto qkv = normals(3 * n), t = normals(3 * n), a = normals(n), b = normals(n);
  char name[96];
  std::snprintf(name, sizeof name, "attention %d x %d tokens, %d heads of %d", s.batch, s.tokens, s.heads, s.channels);
  return {name, true, [=](Kernels& k) {
            Results r = {poisoned(n), poisoned(n), poisoned(3 * n), poisoned(3 * n)};
            k.run(op::Attention{r[0].data(), qkv.data(), s});
            k.run(op::AttentionTangent{r[1].data(), t.data(), qkv.data(), s});
            k.run(op::AttentionAdjoint{r[2].data(), a.data(), qkv.data(), s});
            k.run(op::AttentionSecond{r[3].data(), b.data(), a.data(), t.data(), qkv.data(), s});
            return r;
          }};
}

Case resampled() {
  static const std::vector<float> filters[] = {{0.5f, 0.5f}, {0.125f, 0.375f, 0.375f, 0.125f}};
  const auto taps = filters[engine() % 2];
  int batch = upTo(16), height = 2 * upTo(20), width = 2 * upTo(20), channels = upTo(260);
  while (double(batch) * height * width * channels > kMostWork / 20) channels = (channels + 1) / 2, batch = 1;
  const size_t large = size_t(batch) * height * width * channels;
  const int margin = upTo(3);
  const auto x = normals(large);
  char name[96];
  std::snprintf(name, sizeof name, "images %d x %d x %d x %d, %zu taps", batch, height, width, channels, taps.size());
  return {name, false, [=](Kernels& k) {
            const int n = static_cast<int>(taps.size());
            const uint32_t key[] = {1, 2, 3, 4};
            const size_t padded = size_t(batch) * (height + 2 * margin) * (width + 2 * margin) * channels;
            Results r = {poisoned(large / 4), poisoned(4 * large), poisoned(padded), poisoned(large)};
            k.run(op::Downsample{r[0].data(), x.data(), taps.data(), n, 1, false, batch, height, width, channels});
            k.run(op::Upsample{r[1].data(), x.data(), taps.data(), n, 4, false, batch, height, width, channels});
            k.run(op::Pad{r[2].data(), x.data(), margin, false, batch, height, width, channels});
            k.run(op::Dropout{r[3].data(), x.data(), 0.3f, key, 2, false, batch, large / batch});
            return r;
          }};
}

struct Backend {
  std::string name;
  std::unique_ptr<Kernels> kernels;
  double bound;
};

void testKernels(std::vector<Backend>& backends, Kernels& reference) {
  Case (*const makers[])() = {conv, conv, norm, resampled, attention};
  const Case c = makers[engine() % kKinds]();
  const Results want = c.run(reference);
  for (auto& [name, kernels, bound] : backends) {
    const double tolerance = std::max(kFloatBound, c.products ? 3 * bound : 0);
    const Results got = c.run(*kernels);
    for (size_t i = 0; i < want.size(); ++i)
      if (want[i].size() >= kFewest)
        CHECK(relativeError(got[i], want[i]) < tolerance, "%s: %s, array %zu: %.2e", name.c_str(), c.name.c_str(), i,
              relativeError(got[i], want[i]));
  }
}

struct Population {
  std::vector<int32_t> ancestors;
  std::vector<float> moved, gathered;
  std::vector<double> forward, backward, weights;
  double logSum;
};

Population step(ParticleKernels& k, size_t n, size_t d, Scheme scheme, uint32_t seed) {
  const auto x = randomVector(n * d, seed), g = randomVector(n * d, seed + 1);
  Population p = {std::vector<int32_t>(n),
                  poisoned(n * d),
                  poisoned(n * d),
                  std::vector<double>(n),
                  std::vector<double>(n),
                  std::vector<double>(n),
                  0};
  std::vector<double> alignment(n), squares(n), lw(n);
  const double v = 0.04, tau = 0.03, coefficients[] = {0.5, -0.5};
  k.propose(p.moved.data(), p.forward.data(), p.backward.data(), alignment.data(), squares.data(), x.data(), g.data(),
            {&v, &tau, 0, 0}, {seed, 7, 1}, n, d);
  const double* const terms[] = {p.backward.data(), p.forward.data()};
  p.logSum = k.reweight(lw.data(), p.weights.data(), terms, coefficients, 2, 0, n).logSum;
  // from weights that are the same on every backend: rounding moves ancestors
  std::vector<double> weights(n);
  for (size_t i = 0; i < n; ++i) weights[i] = std::exp(double(x[i * d]));
  k.resample(p.ancestors.data(), n, scheme, weights.data(), n, Uniforms(seed, 1u));
  k.gather(p.gathered.data(), x.data(), p.ancestors.data(), n, d * sizeof(float));
  return p;
}

void testParticles(std::vector<ParticleBackend>& backends, ParticleKernels& reference) {
  static const Scheme schemes[] = {Scheme::kSystematic, Scheme::kStratified, Scheme::kMultinomial, Scheme::kResidual,
                                   Scheme::kKilling};
  const size_t n = upTo(kMostParticles), d = n > 10000 ? upTo(4) : upTo(100);
  const size_t which = engine() % 5;
  const auto seed = static_cast<uint32_t>(engine());
  const Population want = step(reference, n, d, schemes[which], seed);
  for (auto& [name, kernels, cuda, emulated] : backends) {
    const Population got = step(*kernels, n, d, schemes[which], seed);
    char where[96];
    std::snprintf(where, sizeof where, "%s: %zu particles of %zu, scheme %zu", name.c_str(), n, d, which);
    CHECK(got.ancestors == want.ancestors && got.gathered == want.gathered, "%s: ancestors differ", where);
    CHECK(relativeError(got.moved, want.moved) < 1e-6, "%s: moves by %.2e", where,
          relativeError(got.moved, want.moved));
    CHECK(relativeError(got.forward, want.forward) < 1e-5, "%s: forward by %.2e", where,
          relativeError(got.forward, want.forward));
    CHECK(relativeError(got.backward, want.backward) < 1e-5, "%s: backward by %.2e", where,
          relativeError(got.backward, want.backward));
    CHECK(relativeError(got.weights, want.weights) < 1e-3, "%s: weights by %.2e", where,
          relativeError(got.weights, want.weights));
    CHECK(std::fabs(got.logSum - want.logSum) < 1e-4 * (1 + std::fabs(want.logSum)), "%s: log sum %g %g", where,
          got.logSum, want.logSum);
  }
}

// A backend's clock runs while its calls do.
void testElapsed() {
  const auto check = [](const char* name, Kernels& k) {
    void* memory = k.allocate(1 << 20);
    bool called = false;
    const double t = k.elapsed([&] {
      k.zero(memory, 1 << 20);
      called = true;
    });
    CHECK(called && t >= 0 && t < 10, "%s: %g s", name, t);
    k.release(memory);
  };
  check("cpu", *std::unique_ptr<Kernels>(makeCpuKernels()));
  if (!cudaDevices().list.empty()) check("cuda", *std::unique_ptr<Kernels>(makeCudaKernels(0, Precision::kFp32)));
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 3;
  const auto seed = argc > 2 ? static_cast<uint32_t>(std::strtoul(argv[2], nullptr, 10)) : 1;
  engine.seed(seed);
  std::vector<Backend> backends;
  for (auto& [name, kernels] : allKernels())
    if (name != cpuIsa()) backends.push_back({name, std::move(kernels), 0});
  for (auto& [name, kernels, bound] : moreCudaKernels()) backends.push_back({name, std::move(kernels), bound});
  auto particles = particleBackends();
  const std::unique_ptr<Kernels> reference(makeCpuKernels());
  const std::unique_ptr<ParticleKernels> particleReference(makeCpuParticleKernels());
  testElapsed();
  const auto begin = std::chrono::steady_clock::now();
  int cases = 0;
  do {
    ++cases % 4 == 0 ? testParticles(particles, *particleReference) : testKernels(backends, *reference);
  } while (std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() < seconds);
  std::printf("%d random shapes from seed %u\n", cases, seed);
  return report("shapes");
}
