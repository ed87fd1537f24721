// Streams run their work at once, or, with config.lazyStreams, as late as the calls allow: then work that should have
// waited for another stream, and host memory that was given up too early, show.
#include <chrono>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>

#include "emulator.h"

namespace emulator {

struct Stream {
  std::deque<Work> queue;
  size_t done = 0, issued = 0;
  Graph* capturing = nullptr;

  void runUntil(size_t count) {
    while (done < count && !queue.empty()) {
      const Work work = std::move(queue.front());
      queue.pop_front();
      ++done;
      work();
    }
  }
};
struct Event {
  bool timed = false;
  Stream* stream = nullptr;
  size_t count = 0;
  std::shared_ptr<std::chrono::steady_clock::time_point> reached = nullptr;  // when the stream got there
};
struct Graph {
  std::vector<Work> work;
};

namespace {

// One at a time: a job of each network runs on a thread of its own.
std::recursive_mutex mutex;
using Lock = std::lock_guard<std::recursive_mutex>;
std::map<void*, size_t> allocations;
size_t allocated = 0;

}  // namespace

void enqueue(Stream* stream, Work work) {
  const Lock lock(mutex);
  if (stream == nullptr) throw std::runtime_error("the default stream is not for use: it waits for all others");
  if (stream->capturing != nullptr) {
    stream->capturing->work.push_back(std::move(work));
    return;
  }
  stream->queue.push_back(std::move(work));
  ++stream->issued;
  if (!config.lazyStreams) stream->runUntil(stream->issued);
}

}  // namespace emulator

using emulator::Lock;

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
  *p = {"CUDA kernels on the CPU", size_t(4) << 30, 8, 0, 2};
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp p;
  cudaGetDeviceProperties(&p, device);
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = p.multiProcessorCount;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = p.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = p.minor;
      break;
  }
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidValue; }
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }
cudaError_t cudaMemGetInfo(size_t* available, size_t* total) {
  *total = size_t(4) << 30;
  *available = *total - emulator::allocated;
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t error) { return error == cudaSuccess ? "no error" : "emulated error"; }
const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaError";
}

cudaError_t cudaMalloc(void** p, size_t bytes) {
  const Lock lock(emulator::mutex);
  if (bytes > emulator::config.memory || emulator::allocated > emulator::config.memory - bytes)
    return cudaErrorMemoryAllocation;
  *p = emulator::allocateFilled(bytes);
  emulator::allocations[*p] = bytes;
  emulator::allocated += bytes;
  return cudaSuccess;
}
cudaError_t cudaFree(void* p) {
  const Lock lock(emulator::mutex);
  const auto found = emulator::allocations.find(p);
  if (found == emulator::allocations.end()) return p == nullptr ? cudaSuccess : cudaErrorInvalidValue;
  emulator::allocated -= found->second;
  emulator::allocations.erase(found);
  std::free(p);
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** p, size_t bytes, unsigned) {
  *p = std::malloc(bytes);
  return *p == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaFreeHost(void* p) {
  std::free(p);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  emulator::enqueue(stream, [=] { std::memcpy(to, from, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  emulator::enqueue(stream, [=] { std::memset(to, value, bytes); });
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new emulator::Stream();
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  cudaStreamSynchronize(stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Lock lock(emulator::mutex);
  stream->runUntil(stream->issued);
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const emulator::Event e = *event;
  if (e.stream != nullptr) emulator::enqueue(stream, [e] { e.stream->runUntil(e.count); });
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new emulator::Event();
  (*event)->timed = (flags & cudaEventDisableTiming) == 0;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Lock lock(emulator::mutex);
  if (event->timed) {
    const auto reached = std::make_shared<std::chrono::steady_clock::time_point>();
    emulator::enqueue(stream, [reached] { *reached = std::chrono::steady_clock::now(); });
    event->reached = reached;
  }
  event->stream = stream;
  event->count = stream->issued;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock(emulator::mutex);
  if (event->stream != nullptr) event->stream->runUntil(event->count);
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  if (begin->reached == nullptr || end->reached == nullptr) return cudaErrorInvalidValue;
  *milliseconds = std::chrono::duration<float, std::milli>(*end->reached - *begin->reached).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const Lock lock(emulator::mutex);
  stream->capturing = new emulator::Graph();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Lock lock(emulator::mutex);
  *graph = stream->capturing;
  stream->capturing = nullptr;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new emulator::Graph(*graph);
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  for (const emulator::Work& work : exec->work) emulator::enqueue(stream, work);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}
