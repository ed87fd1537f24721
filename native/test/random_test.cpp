// Philox against Random123's published vectors, the laws of the numbers made from it, and the training noise kernel.
#include "kernels/common/random.h"

#include <cstring>

#include "check.h"
#include "kernels/cpu/runtime/threads.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

// kat_vectors of Random123 (Salmon et al. 2011): counter, key, output.
void checkKnownAnswers() {
  struct Known {
    uint32_t counter[4], key[2], out[4];
  };
  const uint32_t ones = 0xffffffffu;
  for (const Known& t :
       {Known{{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        Known{{ones, ones, ones, ones}, {ones, ones}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        Known{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
              {0xa4093822, 0x299f31d0},
              {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}}) {
    // the counter is (block, particle, step, purpose)
    const Philox p =
        philox(uint64_t{t.key[1]} << 32 | t.key[0], t.counter[3], t.counter[2], t.counter[1], t.counter[0]);
    for (int i = 0; i < 4; ++i) CHECK(p.v[i] == t.out[i], "word %d is %08x, not %08x", i, p.v[i], t.out[i]);
  }
}

void checkLaws() {
  // n draws: each moment within 5 of its standard errors, and so the correlation of neighbours.
  const int n = 400000;
  double normal[5] = {}, neighbours = 0, mean = 0, square = 0, previous = 0;
  bool inside = true;
  for (int block = 0; block < n / 4; ++block) {
    float z[4];
    normalsFrom(philox(42, kUser, 1, 2, block), z);
    for (const float v : z) {
      double power = v;
      for (int k = 1; k <= 4; ++k, power *= v) normal[k] += power / n;
      neighbours += previous * v / n;
      previous = v;
    }
  }
  for (int i = 0; i < n; ++i) {
    const double u = uniformAt(42, kUser, 3, 4, i);
    inside = inside && u > 0 && u < 1;
    mean += u / n;
    square += u * u / n;
  }
  const double bound = 5 / std::sqrt(double(n));
  CHECK(std::abs(normal[1]) < bound, "mean %g", normal[1]);
  CHECK(std::abs(normal[2] - 1) < bound * std::sqrt(2.0), "variance %g", normal[2]);
  CHECK(std::abs(normal[3]) < bound * std::sqrt(15.0), "third moment %g", normal[3]);
  CHECK(std::abs(normal[4] - 3) < bound * std::sqrt(96.0), "fourth moment %g", normal[4]);
  CHECK(std::abs(neighbours) < bound, "correlation of neighbours %g", neighbours);
  CHECK(inside, "a uniform outside (0, 1)");
  CHECK(std::abs(mean - 0.5) < bound * std::sqrt(1 / 12.0), "uniform mean %g", mean);
  CHECK(std::abs(square - 1 / 3.0) < bound * std::sqrt(4 / 45.0), "uniform second moment %g", square);
  float extreme[4];
  normalsFrom({{0, 0, 0xffffffffu, 0xffffffffu}}, extreme);
  for (const float v : extreme) CHECK(std::isfinite(v), "the smallest and largest words give %g", v);
  CHECK(uniformFrom(0, 0) > 0 && uniformFrom(0xffffffffu, 0xffffffffu) < 1, "the extreme words leave (0, 1)");
}

void checkNoise(Kernels& k, const std::string& isa) {
  const uint64_t seed = 0x123456789abcdefull;
  for (const size_t n : {size_t(1), size_t(7), size_t(75)}) {
    const int rows = 5;
    const std::vector<float> x0 = randomVector(rows * n, 1), sigma{0.0f, 0.5f, 1.0f, 80.0f, 0.002f};
    std::vector<double> want(rows * n);
    for (int r = 0; r < rows; ++r)
      for (size_t i = 0; i < n; ++i) {
        float z[4];
        normalsFrom(philox(seed, kNoise, 9, 100 + r, static_cast<uint32_t>(i / 4)), z);
        want[r * n + i] = x0[r * n + i] + double(sigma[r]) * z[i % 4];
      }
    setThreadCount(3);
    std::vector<float> x = poisoned(rows * n), split = poisoned(rows * n);
    k.run(op::AddNoise{x.data(), x0.data(), sigma.data(), seed, kNoise, 9, 100, rows, n});
    CHECK(relativeError(x, want) < 1e-7, "%s: noise of %zu, error %.2e", isa.c_str(), n, relativeError(x, want));
    setThreadCount(1);
    k.run(op::AddNoise{split.data(), x0.data(), sigma.data(), seed, kNoise, 9, 100, 2, n});
    k.run(op::AddNoise{split.data() + 2 * n, x0.data() + 2 * n, sigma.data() + 2, seed, kNoise, 9, 102, rows - 2, n});
    CHECK(std::memcmp(x.data(), split.data(), x.size() * sizeof(float)) == 0, "%s: a split batch draws other noise",
          isa.c_str());
  }
}

}  // namespace

int main() {
  checkKnownAnswers();
  checkLaws();
  for (auto& [isa, k] : allKernels()) checkNoise(*k, isa);
  return report("random");
}
