// Which devices there are, and why there are none.
#include <string>

#include "cuda.h"
#include "cuda_kernels.h"
#include "engine/errors.h"

namespace feynkac {
namespace {

constexpr int kOldest = 8;  // compute capability with asynchronous copies, TF32 and bfloat16

std::string version(int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); }

}  // namespace

CudaDevices cudaDevices() {
  CudaDevices found = {{}, "", 0, 0};
  cudaRuntimeGetVersion(&found.runtime);
  // The runtime says "insufficient driver" also where there is none: the driver's version is 0 then.
  if (cudaDriverGetVersion(&found.driver) != cudaSuccess || found.driver == 0) {
    cudaGetLastError();
    found.driver = 0;
    found.reason = "no NVIDIA driver was found";
    return found;
  }
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    cudaGetLastError();
    if (error == cudaErrorInsufficientDriver)
      found.reason = "the NVIDIA driver is for CUDA " + version(found.driver) + " and this build needs " +
                     version(found.runtime) + ": update the driver";
    else if (error == cudaSuccess || error == cudaErrorNoDevice)
      found.reason = "the driver sees no CUDA device (CUDA_VISIBLE_DEVICES may hide it)";
    else
      found.reason = std::string("CUDA does not start: ") + cudaGetErrorString(error);
    return found;
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp p;
    size_t available = 0, total = 0;
    if (cudaGetDeviceProperties(&p, i) != cudaSuccess || cudaSetDevice(i) != cudaSuccess ||
        cudaMemGetInfo(&available, &total) != cudaSuccess) {
      cudaGetLastError();
      found.reason = "device " + std::to_string(i) + " does not answer";
      break;
    }
    if (p.major < kOldest)
      found.reason = "device " + std::to_string(i) + " (" + p.name + ") has compute capability " +
                     std::to_string(p.major) + "." + std::to_string(p.minor) + " and 8.0 is needed";
    found.list.push_back({p.name, p.major, p.minor, p.totalGlobalMem, available, p.multiProcessorCount});
  }
  return found;
}

Kernels* makeCudaKernels(int device, Precision precision) {
  const CudaDevices found = cudaDevices();
  if (found.list.empty()) throw DeviceError("there is no CUDA device: " + found.reason);
  if (device < 0 || static_cast<size_t>(device) >= found.list.size())
    throw DeviceError("there is no device 'cuda:" + std::to_string(device) + "': this machine has " +
                      std::to_string(found.list.size()));
  if (found.list[device].major < kOldest)
    throw DeviceError("device 'cuda:" + std::to_string(device) + "' (" + found.list[device].name +
                      ") is too old: compute capability 8.0 is needed");
  return new CudaKernels(device, precision);
}

}  // namespace feynkac
