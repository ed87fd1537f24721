// Memory of the CUDA backend, the order of its streams, and recorded calls.
#include "cuda_kernels.h"
#include "paths.h"

namespace feynkac {
namespace FEYNKAC_PATH {

void* CudaKernels::allocate(size_t bytes) { return context_.allocate(bytes); }
void CudaKernels::release(void* memory) { context_.release(memory); }
void CudaKernels::upload(void* to, const void* hostFrom, size_t bytes) { context_.upload(to, hostFrom, bytes); }
void CudaKernels::download(void* hostTo, const void* from, size_t bytes) { context_.download(hostTo, from, bytes); }
void CudaKernels::zero(void* to, size_t bytes) { context_.zero(to, bytes); }
void CudaKernels::copy(void* to, const void* from, size_t bytes) { context_.copy(to, from, bytes); }

namespace {
struct Graph final : Kernels::Recording {
  std::shared_ptr<Context::Recording> launches;
};
struct Event final : Kernels::Mark {
  ~Event() override {
    if (event != nullptr) cudaEventDestroy(event);  // those who wait for it still do
  }
  cudaEvent_t event = nullptr;
};
}  // namespace

std::unique_ptr<Kernels::Mark> CudaKernels::mark() {
  auto made = std::make_unique<Event>();
  cudaStream_t s = context_.stream();
  check(cudaEventCreateWithFlags(&made->event, cudaEventDisableTiming), "making an event");
  check(cudaEventRecord(made->event, s), "recording an event");
  return made;
}

void CudaKernels::after(const Mark& mark) {
  check(cudaStreamWaitEvent(context_.stream(), static_cast<const Event&>(mark).event, 0), "waiting for an event");
}

std::unique_ptr<Kernels::Recording> CudaKernels::record(const std::function<void()>& calls) {
  auto graph = std::make_unique<Graph>();
  graph->launches = context_.record(calls);
  return graph;
}

void CudaKernels::replay(const Recording& recording) {
  context_.replay(*static_cast<const Graph&>(recording).launches);
}

Kernels* makeKernels(int device, Precision precision) { return new CudaKernels(device, precision); }

}  // namespace FEYNKAC_PATH
}  // namespace feynkac
