// Memory of the CPU backend: host memory, aligned to cache lines.
#include "cpu_kernels.h"
#include "kernels/cpu/runtime/host_memory.h"

namespace feynkac {
namespace FEYNKAC_ISA {

void* CpuKernels::allocate(size_t bytes) { return allocateHost(bytes); }
void CpuKernels::release(void* memory) { freeHost(memory); }
void CpuKernels::upload(void* to, const void* hostFrom, size_t bytes) { memcpy(to, hostFrom, bytes); }
void CpuKernels::download(void* hostTo, const void* from, size_t bytes) { memcpy(hostTo, from, bytes); }
void CpuKernels::copy(void* to, const void* from, size_t bytes) { memcpy(to, from, bytes); }
void CpuKernels::zero(void* to, size_t bytes) { memset(to, 0, bytes); }

Kernels* makeKernels() { return new CpuKernels(); }

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
