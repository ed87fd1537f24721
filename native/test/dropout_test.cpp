// Dropout against its definition number by number, in place and added, the share that it keeps, split batches, and keys that
// change under a recording.
#include <cstring>

#include "check.h"
#include "kernels/common/random.h"
#include "kernels/cpu/runtime/threads.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

constexpr uint64_t kSeed = 0x123456789abcdefull;
constexpr uint32_t kLayer = 70000;  // more than 16 bits

std::vector<uint32_t> keyOf(uint64_t seed, uint32_t step, uint32_t firstRow) {
  return {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), step, firstRow};
}

bool kept(float rate, uint64_t seed, uint32_t step, uint32_t layer, uint32_t row, size_t i) {
  const Philox p = philox(seed, 13 + layer * 256, step, row, static_cast<uint32_t>(i / 4));
  return double(p.v[i % 4] >> 8) / 16777216.0 >= double(rate);
}

void checkMask(Kernels& k, const std::string& isa) {
  for (const int rows : {1, 5})
    for (const size_t n : {size_t(1), size_t(7), size_t(75), size_t(132), size_t(16421)})
      for (const float rate : {0.0f, 0.1f, 0.9f}) {
        const std::vector<uint32_t> key = keyOf(kSeed, 9, 100);
        std::vector<float> x = randomVector(rows * n, 1), want(rows * n), dropped(rows * n);
        for (int r = 0; r < rows; ++r)
          for (size_t i = 0; i < n; ++i) {
            const size_t at = r * n + i;
            const bool keep = kept(rate, kSeed, 9, kLayer, 100 + r, i);
            dropped[at] = keep ? x[at] : NAN;  // nothing of what is dropped comes through
            want[at] = keep ? x[at] * static_cast<float>(1 / (1 - double(rate))) : 0.0f;
          }
        char where[96];
        std::snprintf(where, sizeof where, "%s: %d x %zu at %g", isa.c_str(), rows, n, rate);
        const auto run = [&](std::vector<float> y, const std::vector<float>& from, bool accumulate) {
          k.run(op::Dropout{y.data(), from.data(), rate, key.data(), kLayer, accumulate, rows, n});
          return y;
        };
        setThreadCount(3);
        const std::vector<float> y = run(poisoned(rows * n), x, false);
        CHECK(y == want, "%s: error %.2e", where, relativeError(y, want));
        CHECK(run(poisoned(rows * n), dropped, false) == want, "%s: a dropped value shows", where);
        setThreadCount(1);
        CHECK(run(poisoned(rows * n), x, false) == y, "%s: one thread differs", where);
        std::vector<float> inPlace = x;
        k.run(op::Dropout{inPlace.data(), inPlace.data(), rate, key.data(), kLayer, false, rows, n});
        CHECK(inPlace == want, "%s: in place", where);
        const std::vector<float> added = run(std::vector<float>(rows * n, 1.0f), x, true);
        std::vector<double> plus(want.begin(), want.end());
        for (double& v : plus) v += 1;
        CHECK(relativeError(added, plus) < 1e-7, "%s: added, error %.2e", where, relativeError(added, plus));
        if (rows == 1) continue;
        std::vector<float> split = poisoned(rows * n);
        k.run(op::Dropout{split.data(), x.data(), rate, key.data(), kLayer, false, 2, n});
        k.run(op::Dropout{split.data() + 2 * n, x.data() + 2 * n, rate, keyOf(kSeed, 9, 102).data(), kLayer, false,
                          rows - 2, n});
        CHECK(split == want, "%s: a split batch has another mask", where);
      }
}

// The share kept within 5 of its standard errors, and so the share kept twice by masks that differ in one number.
void checkLaws() {
  const std::unique_ptr<Kernels> k(makeCpuKernels());
  const int rows = 50;
  const size_t n = 4000;
  const float rate = 0.3f;
  const std::vector<float> ones(rows * n, 1.0f);
  struct Stream {
    uint64_t seed;
    uint32_t step, firstRow, layer;
  };
  std::vector<std::vector<float>> masks;
  for (const Stream& s : {Stream{1, 1, 0, 0}, Stream{2, 1, 0, 0}, Stream{1 + (uint64_t{1} << 32), 1, 0, 0},
                          Stream{1, 2, 0, 0}, Stream{1, 1, 1000, 0}, Stream{1, 1, 0, 1}, Stream{1, 1, 0, 1 << 16}}) {
    masks.emplace_back(rows * n);
    k->run(op::Dropout{masks.back().data(), ones.data(), rate, keyOf(s.seed, s.step, s.firstRow).data(), s.layer, false,
                       rows, n});
  }
  for (size_t m = 0; m < masks.size(); ++m) {
    int one = 0, both = 0;
    for (size_t i = 0; i < ones.size(); ++i) {
      one += masks[m][i] != 0;
      both += masks[m][i] != 0 && masks[0][i] != 0;
    }
    const double N = double(rows) * n, p = 0.7, q = m == 0 ? 0.7 : 0.49;
    CHECK(std::abs(one / N - p) < 5 * std::sqrt(p * (1 - p) / N), "mask %zu keeps %g", m, one / N);
    CHECK(std::abs(both / N - q) < 5 * std::sqrt(q * (1 - q) / N), "masks 0 and %zu both keep %g", m, both / N);
  }
}

// A recording reads the key when it is replayed.
void checkReplay() {
  if (cudaDevices().list.empty()) return;
#ifdef FEYNKAC_EMULATED
  emulator::config = {};
#endif
  const std::unique_ptr<Kernels> k(makeCudaKernels(0, Precision::kFp32));
  const int rows = 3;
  const size_t n = 50;
  const float rate = 0.5f;
  const std::vector<float> ones(rows * n, 1.0f);
  auto* y = static_cast<float*>(k->allocate(ones.size() * sizeof(float)));
  auto* key = static_cast<uint32_t*>(k->allocate(4 * sizeof(uint32_t)));
  const auto calls = [&] { k->run(op::Dropout{y, y, rate, key, kLayer, false, rows, n}); };
  std::unique_ptr<Kernels::Recording> recording;
  for (uint32_t step = 1; step <= 3; ++step) {
    k->upload(y, ones.data(), ones.size() * sizeof(float));
    k->upload(key, keyOf(kSeed, step, 7 * step).data(), 4 * sizeof(uint32_t));
    if (step == 2) recording = k->record(calls);
    recording ? k->replay(*recording) : calls();
    std::vector<float> got(ones.size());
    k->download(got.data(), y, got.size() * sizeof(float));
    size_t different = 0;
    for (int r = 0; r < rows; ++r)
      for (size_t i = 0; i < n; ++i)
        different += got[r * n + i] != (kept(rate, kSeed, step, kLayer, 7 * step + r, i) ? 2.0f : 0.0f);
    CHECK(different == 0, "step %u: %zu values differ", step, different);
  }
  k->release(y);
  k->release(key);
}

}  // namespace

int main() {
  for (auto& [isa, k] : allKernels()) checkMask(*k, isa);
  checkLaws();
  checkReplay();
  return report("dropout");
}
