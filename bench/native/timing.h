// Medians of a backend's own clock, after warm-up.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "job.h"
#include "kernels/cuda/cuda.h"

namespace feynkac::bench {

// Times work(0), work(1), ...: for at least the job's `seconds` in all and its `least` number of measurements. Short work is repeated within a measurement, so
// that one lasts about a millisecond. The first runs, in which the engine lays out, tunes and records, do not count.
template <class Backend, class Work>
std::string timed(Backend& backend, const Job& job, const Work& work) {
  constexpr int kWarmUp = 3;
  constexpr size_t kMost = 1000;
  const double seconds = job.number("seconds");
  const auto least = static_cast<size_t>(job.integer("least"));
  int i = 0;
  for (; i < kWarmUp; ++i) work(i);
  const double once = backend.elapsed([&] { work(i++); });
  const int repeats = static_cast<int>(std::clamp(std::ceil(1e-3 / std::max(once, 1e-9)), 1.0, 1000.0));
  std::vector<double> times;
  double total = 0;
  while (times.size() < least || (total < seconds && times.size() < kMost)) {
    const double t = backend.elapsed([&] {
      for (int r = 0; r < repeats; ++r) work(i++);
    });
    times.push_back(t / repeats);
    total += t;
  }
  std::sort(times.begin(), times.end());
  const size_t n = times.size();
  return R"("seconds":)" + toJson(times[n / 2]) + R"(,"quartiles":[)" + toJson(times[n / 4]) + "," +
         toJson(times[3 * n / 4]) + R"(],"runs":)" + toJson(double(n));
}

inline bool isCuda(const Job& job) { return job.text("device") != "cpu"; }

// Memory of the device that is taken, by everything that runs there; 0 for the CPU.
inline size_t memoryTaken(const Job& job) {
  if (!isCuda(job)) return 0;
  const CudaDevices found = cudaDevices();
  return found.list.empty() ? 0 : found.list[0].memory - cudaFreeMemory(0);
}

}  // namespace feynkac::bench
