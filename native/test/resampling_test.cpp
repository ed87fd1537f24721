// Every resampling scheme on every backend: expected numbers of offspring, edges, and, on CUDA, the CPU's ancestors.
#include <numeric>
#include <stdexcept>

#include "check.h"
#include "kernels/cpu/runtime/threads.h"
#include "particle_backends.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

std::vector<Scheme> schemes() {
  std::vector<Scheme> all;
  for (const auto& named : kSchemes) all.push_back(named.scheme);
  return all;
}

std::vector<int32_t> draw(ParticleKernels& k, Scheme scheme, const std::vector<double>& w, uint32_t seed) {
  std::vector<int32_t> a(w.size(), -1);
  k.resample(a.data(), a.size(), scheme, w.data(), w.size(), {seed, 1u});
  return a;
}

void testResampling(ParticleKernels& k, const std::vector<size_t>& counts) {
  // counts within one of n W for systematic and ssp, never a particle without weight, at sizes around the pieces
  for (const size_t count : counts)
    for (const Scheme scheme : schemes()) {
      std::vector<double> w(count);
      for (size_t i = 0; i < count; ++i) w[i] = i % 3 == 1 ? 0 : std::exp(std::sin(double(i)) * 3);
      if (count == 2) w[0] = 0, w[1] = 3;
      const double sum = std::accumulate(w.begin(), w.end(), 0.0);
      const auto a = draw(k, scheme, w, uint32_t(count));
      std::vector<int> copies(count);
      for (const int32_t j : a) ++copies[size_t(j)];
      for (size_t i = 0; i < count; ++i) {
        const double expected = double(count) * w[i] / sum;
        if (w[i] == 0) CHECK(copies[i] == 0, "scheme %d copied a particle without weight", int(scheme));
        if (scheme == Scheme::kSystematic || scheme == Scheme::kSsp)
          CHECK(std::fabs(copies[i] - expected) < 1 + 1e-6, "scheme %d: %d copies for %g", int(scheme), copies[i],
                expected);
        if (scheme == Scheme::kResidual) CHECK(copies[i] >= std::floor(expected - 1e-9), "residual");
      }
    }
  // equal weights give every particle once, also where n (1/n) rounds below one
  for (const size_t count : {49u, 98u, 1000u, 10007u})
    for (const Scheme scheme : {Scheme::kSystematic, Scheme::kResidual, Scheme::kSsp}) {
      const std::vector<double> w(count, 1.0 / double(count));
      const auto a = draw(k, scheme, w, 1);
      for (size_t i = 0; i < count; ++i) CHECK(a[i] == int32_t(i), "scheme %d, equal weights %zu", int(scheme), count);
    }
  for (const std::vector<double>& bad : {std::vector<double>{}, {0, 0}, {1, NAN}, {1, -1}, {1, INFINITY}}) {
    bool threw = false;
    try {
      draw(k, Scheme::kSystematic, bad, 1);
    } catch (const std::invalid_argument&) {
      threw = true;
    }
    CHECK(threw, "bad weights were taken");
  }
  bool threw = false;
  try {
    draw(k, static_cast<Scheme>(99), {1, 1}, 1);
  } catch (const std::invalid_argument&) {
    threw = true;
  }
  CHECK(threw, "a scheme that is none was drawn by");
}

void testThreads(ParticleKernels& k) {
  std::vector<double> w(300000);
  for (size_t i = 0; i < w.size(); ++i) w[i] = double((i * 7919) % 1000);
  const int before = threadCount();
  for (const Scheme scheme : {Scheme::kSystematic, Scheme::kMultinomial}) {
    setThreadCount(1);
    const auto one = draw(k, scheme, w, 3);
    for (const int threads : {2, 5}) {
      setThreadCount(threads);
      CHECK(draw(k, scheme, w, 3) == one, "ancestors depend on the threads");
    }
  }
  setThreadCount(before);
}

void testAgainstCpu(ParticleKernels& k, ParticleKernels& cpu) {
  for (const size_t count : {1u, 2u, 2048u, 2049u, 6000u})
    for (int shape = 0; shape < 4; ++shape) {
      std::vector<double> w(count);
      for (size_t i = 0; i < count; ++i)
        w[i] = shape == 0   ? 1
               : shape == 1 ? std::exp(std::sin(double(i)) * 20)
               : shape == 2 ? double(i == count / 2)
                            : double(i % 700 == count % 700);
      if (std::accumulate(w.begin(), w.end(), 0.0) == 0) w[count - 1] = 1;
      if (shape % 2 == 0) {
        const double sum = std::accumulate(w.begin(), w.end(), 0.0);
        for (double& v : w) v /= sum;
      }
      for (const Scheme scheme : schemes())
        for (const size_t n : {count, size_t(20000)}) {
          if (n != count && (scheme == Scheme::kKilling || count == 2048 || (shape == 1 && count > 2))) continue;
          std::vector<int32_t> a(n, -1), want(n, -1), again(n, -1);
          k.resample(a.data(), n, scheme, w.data(), count, {17, 3u});
          k.resample(again.data(), n, scheme, w.data(), count, {17, 3u});
          cpu.resample(want.data(), n, scheme, w.data(), count, {17, 3u});
          size_t different = 0;
          bool right = true;
          for (size_t i = 0; i < n; ++i) {
            different += a[i] != want[i];
            right &= a[i] >= 0 && size_t(a[i]) < count && w[size_t(a[i])] > 0;
          }
          CHECK(different == 0, "scheme %d, shape %d, %zu of %zu: %zu differ", int(scheme), shape, n, count, different);
          CHECK(right, "scheme %d, shape %d, %zu of %zu: an ancestor has no weight", int(scheme), shape, n, count);
          CHECK(a == again, "scheme %d, shape %d: not the same twice", int(scheme), shape);
          CHECK(k.countDistinct(a.data(), n, count) == cpu.countDistinct(want.data(), n, count), "distinct");
        }
    }
  // given uniforms, at both ends and at ties; and too few of them
  const std::vector<double> w{0, 0.25, 0, 0.25, 0.5, 0};
  for (const double u0 : {0.0, 0.5, 1 - 0x1p-53}) {
    const std::vector<double> u(6, u0);
    for (const Scheme scheme : {Scheme::kSystematic, Scheme::kStratified}) {
      std::vector<int32_t> a(4, -1), want(4, -1);
      k.resample(a.data(), 4, scheme, w.data(), 6, {u.data(), u.size()});
      cpu.resample(want.data(), 4, scheme, w.data(), 6, {u.data(), u.size()});
      CHECK(a == want, "scheme %d at uniforms of %g", int(scheme), u0);
    }
  }
  for (const Scheme scheme : schemes()) {
    const std::vector<double> u(9, 0.3);
    const size_t needed[] = {1, 6, 7, 4, 5, 9};
    std::vector<int32_t> a(6, -1), want(6, -1);
    std::string message, wantMessage;
    for (const size_t few : {needed[int(scheme)] - 1, needed[int(scheme)]}) {
      const auto messageOf = [&](ParticleKernels& kernels, std::vector<int32_t>& to) -> std::string {
        try {
          kernels.resample(to.data(), 6, scheme, w.data(), 6, {u.data(), few});
        } catch (const std::invalid_argument& e) {
          return e.what();
        }
        return "";
      };
      message = messageOf(k, a), wantMessage = messageOf(cpu, want);
      CHECK(message.empty() == wantMessage.empty(), "scheme %d with %zu uniforms: '%s', not '%s'", int(scheme), few,
            message.c_str(), wantMessage.c_str());
      if (message.empty()) CHECK(a == want, "scheme %d with given uniforms", int(scheme));
    }
  }
}

// More tiles of weights than one step of their scan takes.
void testManyWeights(ParticleKernels& k, ParticleKernels& cpu) {
  const size_t count = (size_t(1) << 23) + 5000, n = 3000;
  std::vector<double> w(count);
  for (size_t i = 0; i < count; ++i) w[i] = double(i * 7919 % 1000);
  std::vector<int32_t> a(n, -1), want(n, -1);
  k.resample(a.data(), n, Scheme::kMultinomial, w.data(), count, {3, 1u});
  cpu.resample(want.data(), n, Scheme::kMultinomial, w.data(), count, {3, 1u});
  CHECK(a == want, "multinomial draws from %zu weights", count);
}

// Weights that are multiples of 2^-40, or those times `factor`, so that their sums have no rounding and ties are ties on
// every backend. The largest weight makes the sum 1, or less by `missing`.
std::vector<double> exactWeights(size_t count, int shape, double missing, double factor) {
  std::vector<double> w(count);
  const size_t largest = shape == 1 ? 0 : shape == 2 ? count - 1 : count / 2;
  for (size_t i = 0; i < count; ++i)
    w[i] = shape == 0   ? std::ldexp(1, -int(std::ceil(std::log2(double(count)))))  // equal: many ties
           : shape == 3 ? double((i * 7919 + 13) % 1000) * 0x1p-28                  // all different
           : shape == 4 ? (i % 3000 < 5 ? 0x1p-12 : 0)                              // zeros over tiles
           : shape == 5 ? (i < count / 3 ? double(i % 7) * 0x1p-30 : 0)             // none at the end
                        : 0;                                                        // all on one
  w[largest] = 0;
  w[largest] = 1 - missing - std::accumulate(w.begin(), w.end(), 0.0);
  for (double& v : w) v *= factor;
  return w;
}

void checkAgainst(ParticleKernels& cpu, ParticleKernels& k, const std::vector<double>& w, size_t n, Scheme scheme,
                  const Uniforms& u, const char* what) {
  std::vector<int32_t> a(n, -1), want(n, -1);
  k.resample(a.data(), n, scheme, w.data(), w.size(), u);
  cpu.resample(want.data(), n, scheme, w.data(), w.size(), u);
  CHECK(a == want, "scheme %d, %s, %zu of %zu, uniforms from %g", int(scheme), what, n, w.size(),
        u.areGiven ? u.values[0] : -1);
}

// Systematic and stratified draws at ties, at ends, over crowded and empty tiles.
void testExactWeights(ParticleKernels& k, ParticleKernels& cpu) {
  const size_t counts[] = {1, 2, 2047, 2048, 2049, 4096, 6200, 4 * 2048 + 1};
  for (const size_t count : counts)
    for (int shape = 0; shape < 6; ++shape) {
      const std::string what = "shape " + std::to_string(shape);
      const auto w = exactWeights(count, shape, 0, 1), less = exactWeights(count, shape, 0x1p-34, 1),
                 scaled = exactWeights(count, shape, 0, 0x1p-1030);
      for (const size_t n : {count, size_t(1), size_t(3000), size_t(12345)}) {
        if (n == 12345 && count != 6200 && shape > 2) continue;
        for (const double u0 : {0.0, 0.5, 1 - 0x1p-53}) {
          const std::vector<double> u(n, u0);
          checkAgainst(cpu, k, w, n, Scheme::kSystematic, {u.data(), 1}, what.c_str());
          if (n == count) checkAgainst(cpu, k, w, n, Scheme::kStratified, {u.data(), n}, what.c_str());
        }
        const double last = 1 - 0x1p-53;
        checkAgainst(cpu, k, less, n, Scheme::kSystematic, {&last, 1}, (what + ", a sum below 1").c_str());
        checkAgainst(cpu, k, w, n, Scheme::kStratified, {5, 2u}, what.c_str());
        if (n == count) checkAgainst(cpu, k, scaled, n, Scheme::kSystematic, {5, 2u}, (what + ", scaled").c_str());
      }
    }
}

// Arrays on the device that begin 8 bytes after where allocations do; on the CPU, with many blocks waiting for each other.
void testUnaligned(ParticleKernels& cpu) {
#ifdef FEYNKAC_EMULATED
  emulator::config = {};
  emulator::config.order = emulator::kRandom;
  emulator::config.resident = 10;
#endif
  const std::unique_ptr<ParticleKernels> k(makeCudaParticleKernels(0));
  const size_t count = 100 * 2048 - 3, n = 150001;
  auto w = exactWeights(count, 3, 0, 1);
  w.insert(w.begin(), NAN);
  std::vector<int32_t> a(n + 2, -1), want(n);
  auto* dw = static_cast<double*>(k->allocate(w.size() * sizeof(double)));
  auto* da = static_cast<int32_t*>(k->allocate(a.size() * sizeof(int32_t)));
  k->upload(dw, w.data(), w.size() * sizeof(double));
  k->upload(da, a.data(), a.size() * sizeof(int32_t));
  k->resample(da + 1, n, Scheme::kSystematic, dw + 1, count, {3, 1u});
  cpu.resample(want.data(), n, Scheme::kSystematic, w.data() + 1, count, {3, 1u});
  k->download(a.data(), da, a.size() * sizeof(int32_t));
  CHECK(std::equal(want.begin(), want.end(), a.begin() + 1), "unaligned arrays");
  CHECK(a.front() == -1 && a.back() == -1, "writes beside the ancestors");
  k->release(dw);
  k->release(da);
}

}  // namespace

int main() {
  const std::unique_ptr<ParticleKernels> cpu(makeCpuParticleKernels());
  bool first = true;
  for (const ParticleBackend& b : particleBackends()) {
    // sizes around the pieces that the work is cut into
    if (b.cuda) testResampling(*b.kernels, {1, 2, 3, 2047, 2048, 2049, 10007});
    if (!b.emulated) testResampling(*b.kernels, {1, 2, 3, 65535, 65536, 65537, 200001});
    if (!b.cuda) {
      testThreads(*b.kernels);
      continue;
    }
    testAgainstCpu(*b.kernels, *cpu);
    testExactWeights(*b.kernels, *cpu);
    if (first || !b.emulated) testManyWeights(*b.kernels, *cpu);
    if (first) testUnaligned(*cpu);
    first = false;
  }
  return report("resampling");
}
