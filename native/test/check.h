// A few lines of test support: reproducible random data, poisoned outputs, error measures, and a count of failures.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/common/kernels.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/paths.h"
#include "schedules.h"
#include "staged.h"

namespace feynkac::test {

inline int failures = 0, checks = 0;

// Where a library is that was built beside this program: at its path, or, where both were carried elsewhere, in the program's folder.
inline std::string besideProgram(const std::string& program, const std::string& path) {
  if (std::FILE* const found = std::fopen(path.c_str(), "rb")) {
    std::fclose(found);
    return path;
  }
  return program.substr(0, program.rfind('/') + 1) + path.substr(path.rfind('/') + 1);
}

#define CHECK(condition, ...)                                            \
  do {                                                                   \
    ++feynkac::test::checks;                                             \
    if (!(condition)) {                                                  \
      ++feynkac::test::failures;                                         \
      std::printf("%s:%d: %s failed: ", __FILE__, __LINE__, #condition); \
      std::printf(__VA_ARGS__);                                          \
      std::printf("\n");                                                 \
    }                                                                    \
  } while (0)

// What else the first CUDA device has for products: both paths in each precision, but for the one in allKernels(). `bound`:
// relative error of whole results that rounding the factors may cost.
struct CudaProducts {
  std::string name;
  std::unique_ptr<Kernels> kernels;
  double bound;
};
inline std::vector<CudaProducts> moreCudaKernels() {
  std::vector<CudaProducts> out;
#ifndef FEYNKAC_NO_CUDA
  if (cudaDevices().list.empty()) return out;
  const auto add = [&](const char* name, Kernels* kernels, double bound) {
    out.push_back({name, std::make_unique<Staged>(std::unique_ptr<Kernels>(kernels)), bound});
  };
  add("cuda tf32", tensor::makeKernels(0, Precision::kTf32), 1e-3);
  add("cuda bf16", tensor::makeKernels(0, Precision::kBf16), 6e-3);
  add("cuda plain", plain::makeKernels(0, Precision::kFp32), 0);
  add("cuda plain tf32", plain::makeKernels(0, Precision::kTf32), 1e-3);
  add("cuda plain bf16", plain::makeKernels(0, Precision::kBf16), 6e-3);
#endif
  return out;
}

// The CPU backend with each instruction set that this machine runs.
inline std::vector<std::pair<std::string, std::unique_ptr<Kernels>>> cpuKernels() {
  std::vector<std::pair<std::string, std::unique_ptr<Kernels>>> out;
  for (const char* isa : {"baseline", "avx2", "avx512"}) {
    try {
      out.emplace_back(isa, std::unique_ptr<Kernels>(makeCpuKernels(isa)));
    } catch (const std::exception&) {
    }
  }
  return out;
}

// Every backend this machine runs, with each of its instruction sets: each test loops over them. Where CUDA kernels run on
// the CPU, in several orders of their threads and times of their copies, if the case is among the smallest.
inline std::vector<std::pair<std::string, std::unique_ptr<Kernels>>> allKernels([[maybe_unused]] bool smallest = true) {
  auto out = cpuKernels();
#ifdef FEYNKAC_EMULATED
  if (smallest || full())
    for (const auto& [name, schedule] : schedules()) {
      std::unique_ptr<Kernels> kernels(tensor::makeKernels(0, Precision::kFp32));
      out.emplace_back(std::string("cuda ") + name, std::make_unique<Staged>(std::move(kernels), schedule));
    }
#elif !defined(FEYNKAC_NO_CUDA)
  if (!cudaDevices().list.empty())
    out.emplace_back("cuda",
                     std::make_unique<Staged>(std::unique_ptr<Kernels>(tensor::makeKernels(0, Precision::kFp32))));
#endif
  return out;
}

inline std::vector<float> randomVector(size_t n, uint32_t seed, float scale = 1.0f, float mean = 0.0f) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(mean, scale);
  std::vector<float> v(n);
  for (float& x : v) x = normal(engine);
  return v;
}

inline std::vector<float> poisoned(size_t n) { return std::vector<float>(n, std::numeric_limits<float>::quiet_NaN()); }

// ||a - b|| / ||b||, infinite when anything is not finite
template <class A, class B>
double relativeError(const std::vector<A>& a, const std::vector<B>& b) {
  double num = 0, den = 0;
  if (a.size() != b.size()) return INFINITY;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = double(a[i]) - double(b[i]);
    num += d * d;
    den += double(b[i]) * double(b[i]);
  }
  const double e = std::sqrt(num) / (den > 0 ? std::sqrt(den) : 1.0);
  return std::isfinite(e) ? e : INFINITY;
}

// Call at the end of main.
inline int report(const char* name) {
  std::printf("%s: %d checks, %d failed\n", name, checks, failures);
  return failures == 0 && checks > 0 ? 0 : 1;
}

}  // namespace feynkac::test
