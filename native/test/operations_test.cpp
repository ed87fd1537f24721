// Every case of every operation (kernels/common/cases.cpp) on every backend that this machine runs, against the CPU's baseline.
//
//   operations_test [part of a name]           compares; same bits on any number of threads
//   operations_test [part of a name] --time    and says how long a call takes
#include <algorithm>
#include <cstring>

#include "check.h"
#include "kernels/common/cases.h"
#include "kernels/cpu/runtime/threads.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

void printTime(const std::string& isa, const OperationCase& c, Kernels& k) {
  std::vector<double> seconds;
  c.run(k, [&](const std::function<void()>& call) {
    for (int i = 0; i < 9; ++i) seconds.push_back(k.elapsed(call));
  });
  std::nth_element(seconds.begin(), seconds.begin() + 4, seconds.end());
  std::printf("%-10s %-32s %9.1f us\n", isa.c_str(), c.name.c_str(), seconds[4] * 1e6);
}

void check(const OperationCase& c, bool time) {
  setThreadCount(1);
  const std::unique_ptr<Kernels> baseline(makeCpuKernels("baseline"));
  const auto want = c.run(*baseline, nullptr);
  const auto against = [&](const std::string& name, Kernels& k, double tolerance) {
    const double error = caseError(c.run(k, nullptr), want);
    CHECK(error < tolerance, "%s: %s, error %.2e", name.c_str(), c.name.c_str(), error);
    if (time) printTime(name, c, k);
  };
  for (auto& [isa, k] : cpuKernels()) {
    against(isa, *k, 1e-5);
    const auto one = c.run(*k, nullptr);
    setThreadCount(3);
    CHECK(c.run(*k, nullptr) == one, "%s: %s, three threads differ from one", isa.c_str(), c.name.c_str());
    setThreadCount(1);
  }
#ifndef FEYNKAC_NO_CUDA
  if (cudaDevices().list.empty()) return;
  against("cuda", *std::unique_ptr<Kernels>(tensor::makeKernels(0, Precision::kFp32)), 1e-5);
  against("cuda bf16", *std::unique_ptr<Kernels>(tensor::makeKernels(0, Precision::kBf16)), c.products ? 2e-2 : 1e-5);
  against("cuda plain", *std::unique_ptr<Kernels>(plain::makeKernels(0, Precision::kFp32)), 1e-5);
#endif
}

}  // namespace

int main(int argc, char** argv) {
  std::string part;
  bool time = false;
  for (int i = 1; i < argc; ++i)
    if (std::strcmp(argv[i], "--time") == 0)
      time = true;
    else
      part = argv[i];
  for (const OperationCase& c : operationCases(2))
    if (c.name.find(part) != std::string::npos) check(c, time);
  return report("operations");
}
