// Chooses the instruction set at run time.
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels/common/kernels.h"

namespace feynkac {

Kernels::~Kernels() = default;
Kernels::Recording::~Recording() = default;
Kernels::Mark::~Mark() = default;

namespace baseline {
Kernels* makeKernels();
}
#if defined(__x86_64__)
namespace avx2 {
Kernels* makeKernels();
}
namespace avx512 {
Kernels* makeKernels();
}
#endif

namespace {
bool machineHas(const char* isa) {
  if (std::strcmp(isa, "baseline") == 0) return true;
#if defined(__x86_64__)
  if (std::strcmp(isa, "avx2") == 0) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (std::strcmp(isa, "avx512") == 0)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
#endif
  return false;
}
}  // namespace

const char* cpuIsa() {
  const char* chosen = std::getenv("FEYNKAC_ISA");
  const bool choice = chosen != nullptr && *chosen != '\0';
  for (const char* isa : {"avx512", "avx2", "baseline"})
    if (choice ? std::strcmp(chosen, isa) == 0 : machineHas(isa)) return isa;
  throw std::invalid_argument(std::string("FEYNKAC_ISA is avx512, avx2 or baseline, not ") + chosen);
}

Kernels* makeCpuKernels(const char* isa) {
  if (isa == nullptr) isa = cpuIsa();
  if (!machineHas(isa))
    throw std::invalid_argument(std::string("this machine does not run the instruction set ") + isa);
#if defined(__x86_64__)
  if (std::strcmp(isa, "avx512") == 0) return avx512::makeKernels();
  if (std::strcmp(isa, "avx2") == 0) return avx2::makeKernels();
#endif
  return baseline::makeKernels();
}

}  // namespace feynkac
