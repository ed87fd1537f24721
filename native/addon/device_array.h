// Memory of a device as JavaScript holds it. A Space is a stream of one device with the particle kernels of one run; a
// DeviceArray is a typed array in its memory, or a part of another one.
#pragma once

#include <napi.h>

#include <memory>
#include <mutex>
#include <string>

#include "kernels/cuda/cuda.h"

namespace feynkac::addon {

struct Space {
  explicit Space(int device) : kernels(makeCudaParticleKernels(device)) {}
  std::unique_ptr<ParticleKernels> kernels;
  std::mutex mutex;  // of the kernels: one job at a time
};

// An allocation, freed with its last user: jobs hold it as well as arrays.
struct DeviceMemory {
  DeviceMemory(std::shared_ptr<Space> of, size_t n);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  std::shared_ptr<Space> space;
  void* data;
};

struct DeviceView {
  std::shared_ptr<DeviceMemory> memory;  // null: disposed of
  napi_typedarray_type type;
  size_t first, length;  // in elements

  void* data() const { return static_cast<char*>(memory->data) + first * elementBytes(type); }
  static size_t elementBytes(napi_typedarray_type type);
};

// The view behind a value; null where the value is no DeviceArray. Throws std::invalid_argument where it was disposed of.
const DeviceView* deviceViewOf(const Napi::Value& value);

}  // namespace feynkac::addon
