// A stream of one device with what its calls need: memory, scratch space, pinned staging. Errors of the CUDA runtime
// become exceptions: std::bad_alloc where memory ran out (the device stays usable), DeviceError otherwise.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "gpu.cuh"

namespace feynkac {

void check(cudaError_t error, const char* what);

class Context {
 public:
  explicit Context(int device);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  cudaStream_t stream();  // for the next launch of this thread
  void* allocate(size_t bytes);
  void release(void* memory);
  void upload(void* to, const void* hostFrom, size_t bytes);    // hostFrom may be changed once it returns
  void download(void* hostTo, const void* from, size_t bytes);  // waits
  void zero(void* to, size_t bytes);
  void copy(void* to, const void* from, size_t bytes);

  // Memory that holds until the next call for it: intermediate results of one operation.
  template <class T>
  T* scratch(size_t n) {
    return static_cast<T*>(scratchBytes(n * sizeof(T)));
  }
  // Changes whenever scratch moves: recorded launches have its old address.
  int scratchMoves() const { return scratchMoves_; }

  void after(Context& other);  // what is called here from now on sees what was called there until now

  // The launches of `calls`, recorded instead of run.
  class Recording;
  std::shared_ptr<Recording> record(const std::function<void()>& calls);
  void replay(const Recording& recording);

  double elapsed(const std::function<void()>& calls);  // seconds between two events around them

  int device() const { return device_; }
  int multiprocessors() const { return multiprocessors_; }

 private:
  struct Empty {
    int device;
  };
  explicit Context(Empty e) : device_(e.device) {}
  void* scratchBytes(size_t bytes);
  char* stage(size_t bytes);

  const int device_;
  int multiprocessors_ = 0;
  cudaStream_t stream_ = nullptr;
  void* scratch_ = nullptr;
  size_t scratchSize_ = 0;
  int scratchMoves_ = 0;
  // The staging ring: a segment is written anew when the copies of its last round are done.
  static constexpr int kSegments = 4;
  static constexpr size_t kSegment = size_t(1) << 21;
  char* ring_ = nullptr;
  cudaEvent_t left_[kSegments] = {};
  int segment_ = 0;
  size_t used_ = 0;
  cudaEvent_t mark_ = nullptr;
  cudaEvent_t clock_[2] = {};  // made when first asked for
};

}  // namespace feynkac
