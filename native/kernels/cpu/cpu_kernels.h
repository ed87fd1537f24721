// The CPU backend, in the namespace of the instruction set it is compiled for. One file per subject implements it.
#pragma once

#include "kernels/common/kernels.h"
#include "kernels/cpu/runtime/threads.h"
#include "simd.h"

namespace feynkac {
namespace FEYNKAC_ISA {

// parallelFor(n, f): f(0) .. f(n - 1) in any order, on any thread.
template <class F>
static inline void parallelFor(int n, const F& f) {
  runPieces(n, const_cast<F*>(&f), [](void* context, int i) { (*static_cast<F*>(context))(i); });
}

class CpuKernels final : public Kernels {
 public:
  // memory.cpp
  void* allocate(size_t bytes) override;
  void release(void* memory) override;
  void upload(void* to, const void* hostFrom, size_t bytes) override;
  void download(void* hostTo, const void* from, size_t bytes) override;
  void zero(void* to, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  // network/: conv*.cpp, norm.cpp, attention.cpp, resample.cpp, elementwise.cpp, dropout.cpp, classification.cpp, optimizer.cpp
  FEYNKAC_OPERATIONS(FEYNKAC_OVERRIDE)
  size_t convPackedBytes(int kernel, int in, int out) override;
  ConvAlgorithms convAlgorithms(const ConvShape& s) override;
};

Kernels* makeKernels();  // memory.cpp

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
