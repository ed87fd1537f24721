// The CUDA backend of a build that has none.
#include "cuda.h"
#include "kernels/common/errors.h"
#include "stream.h"

namespace feynkac {

namespace {
constexpr const char* kReason = "this build has no CUDA backend";
}

CudaDevices cudaDevices() { return {{}, kReason, 0, 0}; }
size_t cudaFreeMemory(int) { throw DeviceError(kReason); }
void requireCudaDevice(int) { throw DeviceError(kReason); }
CudaCheck checkCudaDevice(int) { throw DeviceError(kReason); }
Kernels* makeCudaKernels(int, Precision) { throw DeviceError(kReason); }
ParticleKernels* makeCudaParticleKernels(int) { throw DeviceError(kReason); }
void* streamOf(Context*) { return nullptr; }

}  // namespace feynkac
