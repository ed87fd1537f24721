// The cosine transform of every backend against its definition in float64, at odd sizes and thin ones.
#include <algorithm>

#include "check.h"
#include "kernels/cpu/runtime/threads.h"
#include "particle_backends.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

double cosine(size_t k, size_t j, size_t n) {
  return std::sqrt((k == 0 ? 1.0 : 2.0) / double(n)) * std::cos(M_PI * double(k) * (double(j) + 0.5) / double(n));
}

std::vector<double> reference(const std::vector<float>& x, const Planes& s, bool inverse) {
  const size_t values = s.height * s.width, planes = x.size() / values;
  std::vector<double> half(x.size(), 0), out(x.size(), 0);
  for (size_t p = 0; p < planes; ++p) {
    const size_t at = p * values;
    for (size_t i = 0; i < s.height; ++i)
      for (size_t v = 0; v < s.width; ++v)
        for (size_t j = 0; j < s.width; ++j)
          half[at + i * s.width + v] +=
              x[at + i * s.width + j] * (inverse ? cosine(j, v, s.width) : cosine(v, j, s.width));
    for (size_t u = 0; u < s.height; ++u)
      for (size_t i = 0; i < s.height; ++i)
        for (size_t v = 0; v < s.width; ++v)
          out[at + u * s.width + v] +=
              half[at + i * s.width + v] * (inverse ? cosine(i, u, s.height) : cosine(u, i, s.height));
  }
  return out;
}

void testTransform(ParticleKernels& k, const char* name, bool emulated) {
  const Planes shapes[] = {{1, 1, 1},  {3, 1, 7},   {1, 5, 1},   {2, 3, 4},   {1, 8, 8},
                           {3, 9, 17}, {1, 33, 16}, {2, 16, 31}, {1, 28, 28}, {1, 1, 300}};
  for (const Planes& s : shapes)
    for (const size_t rows : {size_t(1), size_t(emulated ? 2 : 5)}) {
      const size_t size = rows * s.channels * s.height * s.width;
      const auto x = randomVector(size, uint32_t(size), 2, 0.5);
      auto forward = poisoned(size), back = poisoned(size), other = poisoned(size);
      k.dct(forward.data(), x.data(), s, false, rows);
      k.dct(back.data(), forward.data(), s, true, rows);
      k.dct(other.data(), x.data(), s, true, rows);
      const auto at = [&](const char* what, double e) {
        CHECK(e < 1e-6, "%s [%zu, %zu, %zu] x %zu %s: %g", name, s.channels, s.height, s.width, rows, what, e);
      };
      at("forward", relativeError(forward, reference(x, s, false)));
      at("inverse", relativeError(other, reference(x, s, true)));
      at("there and back", relativeError(back, x));
      auto same = x;
      k.dct(same.data(), same.data(), s, false, rows);
      CHECK(same == forward, "%s in place", name);
    }
}

void testThreads(ParticleKernels& k) {
  const Planes s{3, 31, 29};
  const size_t rows = 17, size = rows * 3 * 31 * 29;
  const auto x = randomVector(size, 4);
  const int before = threadCount();
  std::vector<std::vector<float>> outs;
  for (const int threads : {1, 3}) {
    setThreadCount(threads);
    outs.push_back(poisoned(size));
    k.dct(outs.back().data(), x.data(), s, false, rows);
  }
  setThreadCount(before);
  CHECK(outs[0] == outs[1], "the transform depends on the threads");
}

}  // namespace

int main() {
  for (const ParticleBackend& b : particleBackends()) {
    testTransform(*b.kernels, b.name.c_str(), b.emulated);
    if (!b.cuda) testThreads(*b.kernels);
  }
  return report("dct");
}
