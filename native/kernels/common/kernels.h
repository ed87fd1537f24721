// A backend: memory, order, and every operation of operations.h. It is one class that implements `Kernels` (kernels/cpu,
// kernels/cuda).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "kernels/common/operations.h"

namespace feynkac {

class Context;  // a stream of a CUDA device (cuda/context.h)

// The arithmetic of products (convolution, attention); sums are float32 in all of them.
enum class Precision {
  kFp32,  // as float32: on tensor cores by splitting, a b = hi hi + hi lo + lo hi in TF32
  kTf32,  // 10 bits of mantissa
  kBf16,  // 7 bits of mantissa
};

class Kernels {
 public:
  virtual ~Kernels();

  // ---- memory -------------------------------------------------------------------------------------------------------
  virtual void* allocate(size_t bytes) = 0;  // 64-byte aligned; throws std::bad_alloc
  virtual void release(void* memory) = 0;
  virtual void upload(void* to, const void* hostFrom, size_t bytes) = 0;
  virtual void download(void* hostTo, const void* from, size_t bytes) = 0;  // waits for the calls before it
  virtual void zero(void* to, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;  // both of this backend

  // ---- order, and lists of calls that repeat -----------------------------------------------------------------------------
  virtual int device() const { return -1; }  // CUDA's number of it; -1: the CPU
  // Order between backends that share a device (null stands for the CPU, where calls are ordered as they are made): calls
  // here from now on see what `other` was called for until now, and the other way round.
  virtual Context* context() { return nullptr; }
  virtual void after(Context* /*other*/) {}
  virtual void before(Context* /*other*/) {}
  // A place in the order of calls, for backends that go on from there and not from the last one. Null where calls are done when they
  // return.
  class Mark {
   public:
    virtual ~Mark();
  };
  virtual std::unique_ptr<Mark> mark() { return nullptr; }
  virtual void after(const Mark&) {}
  // The calls as one unit that replay() repeats with the same arguments (a CUDA graph); they are not made now. Null where
  // the backend has no such thing. Make the same calls plainly once before. Memory that the calls need inside the backend
  // may move: a recording holds as long as recordingEpoch() is what it was.
  class Recording {
   public:
    virtual ~Recording();
  };
  virtual std::unique_ptr<Recording> record(const std::function<void()>&) { return nullptr; }
  virtual void replay(const Recording&) {}
  virtual int recordingEpoch() const { return 0; }
  // Runs the calls and waits for them: the seconds that they took on the device (on the CPU, by the clock).
  virtual double elapsed(const std::function<void()>& calls);

  // ---- operations: k.run(op::Norm{...}) ------------------------------------------------------------------------------
#define FEYNKAC_DECLARE(Op) virtual void run(const op::Op& o) = 0;
  FEYNKAC_OPERATIONS(FEYNKAC_DECLARE)
#undef FEYNKAC_DECLARE
  virtual size_t convPackedBytes(int kernel, int in, int out) = 0;  // of ConvPack's `packed`
  // By which algorithms each direction of a convolution is done, as people call them.
  struct ConvAlgorithms {
    const char *forward, *dataGrad, *weightGrad;
  };
  virtual ConvAlgorithms convAlgorithms(const ConvShape&) { return {"product", "product", "product"}; }
};

// In the class of a backend: declares run() for every operation.
#define FEYNKAC_OVERRIDE(Op) void run(const op::Op& o) override;

// The CPU backend: one source compiled for several instruction sets, the best one the machine has chosen at run time.
// isa: null (best), "baseline", "avx2" or "avx512"; throws std::invalid_argument if the machine lacks it.
Kernels* makeCpuKernels(const char* isa = nullptr);
const char* cpuIsa();  // the one that null gives

}  // namespace feynkac
