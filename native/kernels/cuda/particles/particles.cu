// Particles on CUDA: memory, uniforms, copies of rows, accept decisions, checks of ancestors.
#include "cuda_particles.h"
#include "kernels/common/random.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/reduce.cuh"

namespace feynkac {
namespace {

constexpr int kBlock = 256;

__global__ void __launch_bounds__(kBlock) fillUniforms(double* out, NormalKey key, size_t rows, size_t d) {
  for (size_t r = size_t(blockIdx.x) * blockDim.y + threadIdx.y; r < rows; r += size_t(gridDim.x) * blockDim.y)
    for (size_t i = size_t(blockIdx.y) * blockDim.x + threadIdx.x; i < d; i += size_t(gridDim.y) * blockDim.x)
      out[r * d + i] =
          uniformAt(key.seed, key.purpose, key.step, key.first + static_cast<uint32_t>(r), static_cast<uint32_t>(i));
}

// out[r] = in[ancestors[r]], or in[r] without ancestors; only where accepted, if that is given. Rows of `columns` T.
template <class T>
__global__ void __launch_bounds__(kBlock)
    copyRows(T* out, const T* in, const int32_t* ancestors, const uint8_t* accepted, size_t rows, size_t columns) {
  for (size_t r = size_t(blockIdx.x) * blockDim.y + threadIdx.y; r < rows; r += size_t(gridDim.x) * blockDim.y) {
    if (accepted != nullptr && accepted[r] == 0) continue;
    const size_t from = ancestors != nullptr ? static_cast<size_t>(ancestors[r]) : r;
    for (size_t i = size_t(blockIdx.y) * blockDim.x + threadIdx.x; i < columns; i += size_t(gridDim.y) * blockDim.x)
      out[r * columns + i] = in[from * columns + i];
  }
}

// Adds this block's sum to a counter: whole numbers, so the order does not matter.
GPU_FN void addToCounter(uint32_t* counter, uint32_t v) {
  v = blockSum<kBlock>(v);
  if (threadIdx.x == 0 && v != 0) atomicAdd(counter, v);
}

__global__ void __launch_bounds__(kBlock)
    accept(uint8_t* accepted, uint32_t* count, const double* logRatio, NormalKey key, size_t rows) {
  uint32_t n = 0;
  for (size_t r = size_t(blockIdx.x) * kBlock + threadIdx.x; r < rows; r += size_t(gridDim.x) * kBlock) {
    const bool yes =
        log(uniformAt(key.seed, key.purpose, key.step, key.first + static_cast<uint32_t>(r), 0)) < logRatio[r];
    accepted[r] = yes;
    n += yes;
  }
  addToCounter(count, n);
}

// One bit per particle; a run of the same ancestor sets its bit once.
__global__ void __launch_bounds__(kBlock) mark(uint32_t* bits, uint32_t* count, const int32_t* a, size_t n) {
  uint32_t fresh = 0;
  for (size_t i = size_t(blockIdx.x) * kBlock + threadIdx.x; i < n; i += size_t(gridDim.x) * kBlock) {
    const int32_t v = a[i];
    if (i > 0 && a[i - 1] == v) continue;
    const uint32_t bit = 1u << (v & 31);
    fresh += (gpu::setBits(&bits[v >> 5], bit) & bit) == 0;
  }
  addToCounter(count, fresh);
}

__global__ void __launch_bounds__(kBlock) countOutside(uint32_t* outside, const int32_t* a, size_t n, size_t count) {
  uint32_t bad = 0;
  for (size_t i = size_t(blockIdx.x) * kBlock + threadIdx.x; i < n; i += size_t(gridDim.x) * kBlock)
    bad += a[i] < 0 || static_cast<size_t>(a[i]) >= count;
  addToCounter(outside, bad != 0);
}

template <class T>
void launchCopy(cudaStream_t stream, void* out, const void* in, const int32_t* ancestors, const uint8_t* accepted,
                size_t rows, size_t bytes) {
  const RowGrid g(rows, bytes / sizeof(T), kBlock);
  LAUNCH((copyRows<T>), g.grid, g.block, 0, stream)
  (static_cast<T*>(out), static_cast<const T*>(in), ancestors, accepted, rows, bytes / sizeof(T));
}

void copy(Context& context, void* out, const void* in, const int32_t* ancestors, const uint8_t* accepted, size_t rows,
          size_t bytes) {
  if (rows == 0 || bytes == 0) return;
  const uintptr_t parts = reinterpret_cast<uintptr_t>(out) | reinterpret_cast<uintptr_t>(in) | bytes;
  const auto launch = parts % 16 == 0 ? launchCopy<uint4> : parts % 4 == 0 ? launchCopy<uint32_t> : launchCopy<uint8_t>;
  launch(context.stream(), out, in, ancestors, accepted, rows, bytes);
  launched("copying rows");
}

uint32_t read(Context& context, const uint32_t* counter) {
  uint32_t value = 0;
  context.download(&value, counter, sizeof value);
  return value;
}

}  // namespace

ParticleKernels* makeCudaParticleKernels(int device) {
  checkCudaDevice(device);
  return new CudaParticleKernels(device);
}

void* CudaParticleKernels::allocate(size_t bytes) { return context_.allocate(bytes); }
void CudaParticleKernels::release(void* memory) { context_.release(memory); }
void CudaParticleKernels::upload(void* to, const void* hostFrom, size_t bytes) { context_.upload(to, hostFrom, bytes); }
void CudaParticleKernels::download(void* hostTo, const void* from, size_t bytes) {
  context_.download(hostTo, from, bytes);
}

void CudaParticleKernels::uniforms(double* out, const NormalKey& key, size_t rows, size_t d) {
  if (rows == 0 || d == 0) return;
  const RowGrid g(rows, d, kBlock);
  LAUNCH((fillUniforms), g.grid, g.block, 0, context_.stream())(out, key, rows, d);
  launched("uniforms");
}

size_t CudaParticleKernels::countDistinct(const int32_t* ancestors, size_t n, size_t count) {
  if (n == 0) return 0;
  const size_t words = (count + 31) / 32 + 1;
  uint32_t* found = context_.scratch<uint32_t>(words);  // the counter and the bits
  context_.zero(found, words * sizeof(uint32_t));
  LAUNCH((mark), blocksFor(n, kBlock), kBlock, 0, context_.stream())(found + 1, found, ancestors, n);
  launched("countDistinct");
  return read(context_, found);
}

bool CudaParticleKernels::areInRange(const int32_t* ancestors, size_t n, size_t count) {
  if (n == 0) return true;
  uint32_t* outside = context_.scratch<uint32_t>(1);
  context_.zero(outside, sizeof(uint32_t));
  LAUNCH((countOutside), blocksFor(n, kBlock), kBlock, 0, context_.stream())(outside, ancestors, n, count);
  launched("areInRange");
  return read(context_, outside) == 0;
}

void CudaParticleKernels::gather(void* out, const void* in, const int32_t* ancestors, size_t rows, size_t bytes) {
  copy(context_, out, in, ancestors, nullptr, rows, bytes);
}

size_t CudaParticleKernels::metropolis(uint8_t* accepted, const double* logRatio, const NormalKey& key, size_t rows) {
  if (rows == 0) return 0;
  uint32_t* count = context_.scratch<uint32_t>(1);
  context_.zero(count, sizeof(uint32_t));
  LAUNCH((accept), blocksFor(rows, kBlock), kBlock, 0, context_.stream())(accepted, count, logRatio, key, rows);
  launched("metropolis");
  return read(context_, count);
}

void CudaParticleKernels::copyAccepted(void* out, const void* in, const uint8_t* accepted, size_t rows, size_t bytes) {
  copy(context_, out, in, nullptr, accepted, rows, bytes);
}

}  // namespace feynkac
