// The CUDA backend, in the namespace of the path it is compiled for (paths.h). One file per subject implements it, as kernels/cpu
// does.
#pragma once

#include "context.h"
#include "grids.h"
#include "kernels/common/kernels.h"

namespace feynkac {
namespace FEYNKAC_PATH {

// Call after LAUNCH: a launch that could not be made throws.
inline void launched(const char* what) { check(cudaGetLastError(), what); }

// Before LAUNCH: lets a kernel have so much shared memory. Each device has a setting of its own; Context::stream() chooses it.
template <class Kernel>
void allowShared(Kernel kernel, size_t bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "choosing the shared memory of a kernel");
}

inline bool aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

class CudaKernels : public Kernels {
 public:
  CudaKernels(int device, Precision precision) : context_(device), precision_(precision) {}

  // memory.cu
  void* allocate(size_t bytes) override;
  void release(void* memory) override;
  void upload(void* to, const void* hostFrom, size_t bytes) override;
  void download(void* hostTo, const void* from, size_t bytes) override;
  void zero(void* to, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  int device() const override { return context_.device(); }
  Context* context() override { return &context_; }
  void after(Context* other) override { context_.after(*other); }
  void before(Context* other) override { other->after(context_); }
  std::unique_ptr<Mark> mark() override;
  void after(const Mark& mark) override;
  std::unique_ptr<Recording> record(const std::function<void()>& calls) override;
  void replay(const Recording& recording) override;
  int recordingEpoch() const override { return context_.scratchMoves(); }
  double elapsed(const std::function<void()>& calls) override { return context_.elapsed(calls); }
  // network/
  FEYNKAC_OPERATIONS(FEYNKAC_OVERRIDE)
  size_t convPackedBytes(int kernel, int in, int out) override;

 protected:
  Context context_;
  const Precision precision_;
};

}  // namespace FEYNKAC_PATH
}  // namespace feynkac
