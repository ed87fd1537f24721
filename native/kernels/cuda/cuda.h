// What the rest of the engine sees of the CUDA backend. A build without it has the same functions (absent.cpp): no
// device, and a reason.
#pragma once

#include <string>
#include <vector>

#include "kernels/common/kernels.h"
#include "kernels/common/particles.h"

namespace feynkac {

struct CudaDevice {
  std::string name;
  int major, minor;  // compute capability
  size_t memory;
  int multiprocessors;
};

struct CudaDevices {
  std::vector<CudaDevice> list;  // cuda:0, cuda:1, ...
  std::string reason;            // why there is none, or what is wrong with one; empty where all is well
  int driver, runtime;           // CUDA versions as 1000 major + 10 minor; 0: none
};

// Never throws: a machine without driver or device has a reason. Starts no device, which would take its time and memory.
CudaDevices cudaDevices();

// Bytes that are free on a device; starts it. Throws DeviceError.
size_t cudaFreeMemory(int device);

// How well a device does what it should, found at its first use: `path` is what runs (paths.h), `failure` what did not pass on
// a faster one.
struct CudaCheck {
  std::string path, failure;
};

// Throws DeviceError where there is no such device, or where it is too old.
void requireCudaDevice(int device);

// Runs the self-test at the first call for a device. Throws as requireCudaDevice, and where no path passes.
CudaCheck checkCudaDevice(int device);

// Throws as checkCudaDevice, which it calls.
Kernels* makeCudaKernels(int device, Precision precision);
ParticleKernels* makeCudaParticleKernels(int device);

}  // namespace feynkac
