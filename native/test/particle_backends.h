// The backends that tests of particles loop over.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/cuda/cuda.h"
#include "schedules.h"
#include "staged_particles.h"

namespace feynkac::test {

struct ParticleBackend {
  std::string name;
  std::unique_ptr<ParticleKernels> kernels;
  bool cuda, emulated;
};

// Every instruction set this machine runs, and the first CUDA device; where CUDA runs on the CPU, in several orders.
inline std::vector<ParticleBackend> particleBackends() {
  std::vector<ParticleBackend> out;
  for (const char* isa : {"baseline", "avx2", "avx512"}) {
    try {
      out.push_back({isa, std::unique_ptr<ParticleKernels>(makeCpuParticleKernels(isa)), false, false});
    } catch (const std::invalid_argument&) {  // not this machine's
    }
  }
#ifndef FEYNKAC_NO_CUDA
  const auto add = [&](const Schedule& schedule, bool emulated) {
    std::unique_ptr<ParticleKernels> kernels(makeCudaParticleKernels(0));
    out.push_back({"cuda", std::make_unique<StagedParticles>(std::move(kernels), schedule), true, emulated});
  };
#ifdef FEYNKAC_EMULATED
  for (const auto& [name, schedule] : schedules()) add(schedule, true);
#else
  if (!cudaDevices().list.empty()) add({}, false);
#endif
#endif
  return out;
}

}  // namespace feynkac::test
