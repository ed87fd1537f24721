// Which devices there are, why there are none, and which path of the kernels each can run.
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "context.h"
#include "cuda.h"
#include "gpu.cuh"
#include "kernels/common/errors.h"
#include "paths.h"

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
    if (cudaGetDeviceProperties(&p, i) != cudaSuccess) {
      cudaGetLastError();
      found.reason = "device " + std::to_string(i) + " does not answer";
      break;
    }
    if (p.major < kOldest)
      found.reason = "device " + std::to_string(i) + " (" + p.name + ") has compute capability " +
                     std::to_string(p.major) + "." + std::to_string(p.minor) + " and 8.0 is needed";
    found.list.push_back({p.name, p.major, p.minor, p.totalGlobalMem, p.multiProcessorCount});
  }
  return found;
}

size_t cudaFreeMemory(int device) {
  requireCudaDevice(device);
  size_t available = 0, total = 0;
  check(cudaSetDevice(device), "choosing the device");
  check(cudaMemGetInfo(&available, &total), "asking for its memory");
  return available;
}

namespace {

struct Path {
  const char* name;
  bool (*offered)(int);
  Kernels* (*make)(int, Precision);
};
bool always(int) { return true; }
constexpr Path kPaths[] = {{"hopper", hopper::offered, hopper::makeKernels},
                           {"tensor", always, tensor::makeKernels},
                           {"plain", always, plain::makeKernels}};

struct Choice {
  const Path* path;
  std::string failure;
};

Choice choose(int device) {
  std::string failure;
  for (const Path& path : kPaths) {
    if (!path.offered(device)) continue;
    std::string failed;
    for (const Precision precision : {Precision::kFp32, Precision::kTf32, Precision::kBf16}) {
      const std::unique_ptr<Kernels> kernels(path.make(device, precision));
      failed = selfTest(*kernels, precision);
      if (!failed.empty()) break;
    }
    if (failed.empty()) return {&path, failure};
    failure += (failure.empty() ? "" : "; ") + std::string(path.name) + ": " + failed;
  }
  throw DeviceError("device 'cuda:" + std::to_string(device) + "' computes wrong results (" + failure + ")");
}

const Choice& choiceOf(int device) {
  requireCudaDevice(device);
  static std::mutex mutex;
  static std::map<int, Choice> choices;
  const std::lock_guard<std::mutex> lock(mutex);
  auto known = choices.find(device);
  if (known == choices.end()) known = choices.emplace(device, choose(device)).first;
  return known->second;
}

}  // namespace

void requireCudaDevice(int device) {
  const CudaDevices found = cudaDevices();
  if (found.list.empty()) throw DeviceError("there is no CUDA device: " + found.reason);
  if (device < 0 || static_cast<size_t>(device) >= found.list.size())
    throw DeviceError("there is no device 'cuda:" + std::to_string(device) + "': this machine has " +
                      std::to_string(found.list.size()));
  if (found.list[device].major < kOldest) throw DeviceError(found.reason);
}

CudaCheck checkCudaDevice(int device) {
  const Choice& choice = choiceOf(device);
  return {choice.path->name, choice.failure};
}

Kernels* makeCudaKernels(int device, Precision precision) { return choiceOf(device).path->make(device, precision); }

}  // namespace feynkac
