#include <algorithm>
#include <cstring>
#include <functional>
#include <new>

#include "context.h"
#include "kernels/common/errors.h"
#include "stream.h"

namespace feynkac {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // an error that is not sticky is forgotten
  if (error == cudaErrorMemoryAllocation) throw std::bad_alloc();
  throw DeviceError(std::string("CUDA: ") + what + " failed: " + cudaGetErrorString(error) + " (" +
                    cudaGetErrorName(error) + ")");
}

Context::Context(int device) : Context(Empty{device}) {
  // from here on an exception runs the destructor, as the object has been constructed
  check(cudaSetDevice(device), "choosing the device");
  check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device), "asking for the device");
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
  for (cudaEvent_t& e : left_) check(cudaEventCreateWithFlags(&e, cudaEventDisableTiming), "making an event");
  check(cudaEventCreateWithFlags(&mark_, cudaEventDisableTiming), "making an event");
  check(cudaHostAlloc(reinterpret_cast<void**>(&ring_), kSegments * kSegment, cudaHostAllocDefault),
        "allocating pinned memory");
}

Context::~Context() {
  cudaSetDevice(device_);
  if (stream_ != nullptr) cudaStreamSynchronize(stream_);
  cudaFree(scratch_);
  if (ring_ != nullptr) cudaFreeHost(ring_);
  for (cudaEvent_t e : left_)
    if (e != nullptr) cudaEventDestroy(e);
  for (cudaEvent_t e : clock_)
    if (e != nullptr) cudaEventDestroy(e);
  if (mark_ != nullptr) cudaEventDestroy(mark_);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

void* streamOf(Context* context) { return context ? context->stream() : nullptr; }

cudaStream_t Context::stream() {
  check(cudaSetDevice(device_), "choosing the device");
  return stream_;
}

void* Context::allocate(size_t bytes) {
  stream();
  void* memory = nullptr;
  check(cudaMalloc(&memory, std::max<size_t>(bytes, 1)), "allocating memory");
  return memory;
}

void Context::release(void* memory) {
  cudaSetDevice(device_);
  cudaStreamSynchronize(stream_);
  cudaFree(memory);
}

// Room for `bytes` in the ring, at most a segment.
char* Context::stage(size_t bytes) {
  if (used_ + bytes > kSegment) {
    check(cudaEventRecord(left_[segment_], stream_), "recording an event");
    segment_ = (segment_ + 1) % kSegments;
    check(cudaEventSynchronize(left_[segment_]), "waiting for a copy");
    used_ = 0;
  }
  char* room = ring_ + segment_ * kSegment + used_;
  used_ += (bytes + 63) / 64 * 64;
  return room;
}

void Context::upload(void* to, const void* hostFrom, size_t bytes) {
  cudaStream_t s = stream();
  for (size_t at = 0; at < bytes; at += kSegment) {
    const size_t n = std::min(kSegment, bytes - at);
    char* room = stage(n);
    std::memcpy(room, static_cast<const char*>(hostFrom) + at, n);
    check(cudaMemcpyAsync(static_cast<char*>(to) + at, room, n, cudaMemcpyHostToDevice, s), "copying to the device");
  }
}

void Context::download(void* hostTo, const void* from, size_t bytes) {
  cudaStream_t s = stream();
  // as many pieces in flight as there are segments but one
  for (size_t at = 0; at < bytes;) {
    char* rooms[kSegments - 1];
    size_t sizes[kSegments - 1];
    int n = 0;
    for (; n < kSegments - 1 && at < bytes; ++n) {
      sizes[n] = std::min(kSegment, bytes - at);
      rooms[n] = stage(sizes[n]);
      check(cudaMemcpyAsync(rooms[n], static_cast<const char*>(from) + at, sizes[n], cudaMemcpyDeviceToHost, s),
            "copying to the host");
      at += sizes[n];
    }
    check(cudaStreamSynchronize(s), "running kernels");
    char* to = static_cast<char*>(hostTo) + at;
    for (int i = n; i-- > 0;) {
      to -= sizes[i];
      std::memcpy(to, rooms[i], sizes[i]);
    }
  }
}

void Context::zero(void* to, size_t bytes) { check(cudaMemsetAsync(to, 0, bytes, stream()), "clearing memory"); }

void Context::copy(void* to, const void* from, size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream()), "copying on the device");
}

void* Context::scratchBytes(size_t bytes) {
  if (bytes > scratchSize_) {
    release(scratch_);
    scratch_ = nullptr;
    scratchSize_ = 0;
    ++scratchMoves_;
    const size_t rounded = (bytes + (1 << 20) - 1) >> 20 << 20;
    scratch_ = allocate(rounded);
    scratchSize_ = rounded;
  }
  return scratch_;
}

void Context::after(Context& other) {
  if (&other == this) return;
  check(cudaEventRecord(other.mark_, other.stream()), "recording an event");
  check(cudaStreamWaitEvent(stream(), other.mark_, 0), "waiting for an event");
}

class Context::Recording {
 public:
  explicit Recording(cudaGraph_t graph) {
    const cudaError_t error = cudaGraphInstantiate(&exec, graph, 0);
    cudaGraphDestroy(graph);
    check(error, "instantiating a graph");
  }
  ~Recording() { cudaGraphExecDestroy(exec); }
  cudaGraphExec_t exec = nullptr;
};

std::shared_ptr<Context::Recording> Context::record(const std::function<void()>& calls) {
  cudaStream_t s = stream();
  check(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal), "recording launches");
  cudaGraph_t graph = nullptr;
  try {
    calls();
  } catch (...) {
    if (cudaStreamEndCapture(s, &graph) == cudaSuccess && graph != nullptr) cudaGraphDestroy(graph);
    throw;
  }
  check(cudaStreamEndCapture(s, &graph), "recording launches");
  return std::make_shared<Recording>(graph);
}

void Context::replay(const Recording& recording) {
  check(cudaGraphLaunch(recording.exec, stream()), "launching a graph");
}

double Context::elapsed(const std::function<void()>& calls) {
  cudaStream_t s = stream();
  for (cudaEvent_t& e : clock_)
    if (e == nullptr) check(cudaEventCreateWithFlags(&e, cudaEventDefault), "making an event");
  check(cudaEventRecord(clock_[0], s), "recording an event");
  calls();
  check(cudaEventRecord(clock_[1], stream()), "recording an event");
  check(cudaEventSynchronize(clock_[1]), "running kernels");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, clock_[0], clock_[1]), "reading events");
  return milliseconds / 1e3;
}

}  // namespace feynkac
