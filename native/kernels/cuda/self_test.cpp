// A known-answer test of milliseconds: code that has never run on a device is not trusted there.
#include "cuda.h"
#include "kernels/common/cases.h"
#include "paths.h"

namespace feynkac {

std::string selfTest(Kernels& cuda, Precision precision) {
  const std::unique_ptr<Kernels> cpu(makeCpuKernels());
  const double rounding = precision == Precision::kFp32 ? 1e-5 : precision == Precision::kTf32 ? 3e-3 : 2e-2;
  for (const OperationCase& c : operationCases(cudaDevices().list.at(cuda.device()).multiprocessors)) {
    if (!c.quick) continue;
    const double error = caseError(c.run(cuda, nullptr), c.run(*cpu, nullptr));
    if (!(error < (c.products ? rounding : 1e-5))) return c.name + " is off by " + std::to_string(error);
  }
  return "";
}

}  // namespace feynkac
