// The particle kernels of the instruction set that select.cpp chooses.
#include <cstring>
#include <memory>
#include <new>

#include "kernels/common/kernels.h"
#include "kernels/common/particles.h"

namespace feynkac {

ParticleKernels::~ParticleKernels() = default;

namespace baseline {
ParticleKernels* makeParticleKernels();
}
#if defined(__x86_64__)
namespace avx2 {
ParticleKernels* makeParticleKernels();
}
namespace avx512 {
ParticleKernels* makeParticleKernels();
}
#endif

ParticleKernels* makeCpuParticleKernels(const char* isa) {
  if (isa == nullptr) isa = cpuIsa();
  const std::unique_ptr<Kernels> machineRunsIt(makeCpuKernels(isa));  // throws where it does not
#if defined(__x86_64__)
  if (std::strcmp(isa, "avx512") == 0) return avx512::makeParticleKernels();
  if (std::strcmp(isa, "avx2") == 0) return avx2::makeParticleKernels();
#endif
  return baseline::makeParticleKernels();
}

}  // namespace feynkac
