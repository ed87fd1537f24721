// What only Hopper (sm_90a) has: barriers in shared memory that also count bytes, bulk copies that report to them (the
// simple form of the TMA), and matrix products of a warpgroup that run while its threads go on (wgmma). Like gpu.cuh in all
// else.
#pragma once

#include "kernels/cuda/gpu.cuh"

namespace gpu {

// Whether this compilation has these instructions. Kernels that use them are templates with their whole body in
// `if constexpr (kHopper)`: for other devices, and the PTX from which drivers compile, they are empty.
#if !defined(__CUDACC__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
constexpr bool kHopper = true;
#else
constexpr bool kHopper = false;
#endif

// Address as these instructions take it.
GPU_FN uint32_t sharedAddress(const void* p) {
#ifdef __CUDACC__
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
#else
  return emulator::sharedAddress(p);
#endif
}

// ---- barriers: a phase ends when all `arrivals` have come and all bytes that were announced; then the next one begins --------
GPU_FN void initBarrier(uint64_t* barrier, uint32_t arrivals) {
#ifdef __CUDACC__
  asm volatile("mbarrier.init.shared::cta.b64 [%0],%1;" ::"r"(sharedAddress(barrier)), "r"(arrivals) : "memory");
#else
  emulator::initBarrier(barrier, arrivals);
#endif
}
// After the thread's initBarrier calls, and before the block's barrier that lets others use them: copies see them too.
GPU_FN void publishBarriers() {
#ifdef __CUDACC__
  asm volatile("fence.mbarrier_init.release.cluster;\n\tfence.proxy.async.shared::cta;" ::: "memory");
#endif
}
GPU_FN void arrive(uint64_t* barrier) {
#ifdef __CUDACC__
  asm volatile("mbarrier.arrive.shared::cta.b64 _,[%0];" ::"r"(sharedAddress(barrier)) : "memory");
#else
  emulator::arrive(barrier, 0);
#endif
}
// Announces the bytes of copies that report to the barrier in this phase, and arrives.
GPU_FN void arriveExpecting(uint64_t* barrier, uint32_t bytes) {
#ifdef __CUDACC__
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _,[%0],%1;" ::"r"(sharedAddress(barrier)), "r"(bytes)
               : "memory");
#else
  emulator::arrive(barrier, bytes);
#endif
}
// Waits until the phase of this parity has ended: the first phase has parity 0, and the one before it counts as ended.
GPU_FN void waitBarrier(uint64_t* barrier, uint32_t parity) {
#ifdef __CUDACC__
  const uint32_t address = sharedAddress(barrier);
  uint32_t ended = 0;
  while (!ended)  // each try suspends the thread for a while
    asm volatile("{.reg .pred p;\n\tmbarrier.try_wait.parity.shared::cta.b64 p,[%1],%2;\n\tselp.u32 %0,1,0,p;}"
                 : "=r"(ended)
                 : "r"(address), "r"(parity)
                 : "memory");
#else
  emulator::waitBarrier(barrier, parity);
#endif
}

// Copies `bytes` from global to shared memory and then reports them to the barrier; all multiples of 16.
GPU_FN void copyBulk(void* to, const void* from, uint32_t bytes, uint64_t* barrier) {
#ifdef __CUDACC__
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0],[%1],%2,[%3];" ::"r"(sharedAddress(to)),
      "l"(from), "r"(bytes), "r"(sharedAddress(barrier))
      : "memory");
#else
  emulator::copyBulk(to, from, bytes, barrier);
#endif
}

// By all threads, after ordinary writes to shared memory that products will read and before the block's barrier between.
GPU_FN void publishShared() {
#ifdef __CUDACC__
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#else
  emulator::publishShared();
#endif
}

// ---- products of a warpgroup (four warps, the first a multiple of four) --------------------------------------------------
// A matrix B [columns, K] in shared memory, K along the rows, as blocks of 8 columns x 16 bytes of K that are contiguous
// (128 bytes: all banks once). `nextK` and `nextColumns`: bytes from a block to the next one in either direction.
GPU_FN uint64_t matrixAt(const void* first, uint32_t nextK, uint32_t nextColumns) {
  return sharedAddress(first) >> 4 | static_cast<uint64_t>(nextK >> 4) << 16 |
         static_cast<uint64_t>(nextColumns >> 4) << 32;
}
// The same, `bytes` further on.
GPU_FN uint64_t further(uint64_t matrix, uint32_t bytes) { return matrix + (bytes >> 4); }

// Before products, once the registers they use have been written.
GPU_FN void beginProducts() {
#ifdef __CUDACC__
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
  emulator::beginProducts();
#endif
}

#define GPU_SUMS(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define GPU_ALL_SUMS \
  GPU_SUMS(0), GPU_SUMS(1), GPU_SUMS(2), GPU_SUMS(3), GPU_SUMS(4), GPU_SUMS(5), GPU_SUMS(6), GPU_SUMS(7)
#define GPU_PRODUCT                                                                                 \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25," \
  "%26,%27,%28,%29,%30,%31},{%32,%33,%34,%35},%36,p,1,1"

// Begins D += A B; A [64, 16] in registers, each warp's 16 rows as in mmaBf16; B [16, 64]; D [64, 64], each warp's rows as eight
// of mmaBf16's. Until waitProducts() D must not be touched, and A and B must not change.
GPU_FN void productBf16(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b) {
#ifdef __CUDACC__
  asm volatile(
      "{.reg .pred p;\n\tsetp.eq.u32 p,0,0;\n\twgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " GPU_PRODUCT ",0;}"
      : GPU_ALL_SUMS
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b)
      : "memory");
#else
  emulator::product(true, d, a, b, true);
#endif
}
// The same with A [64, 8] as in mmaTf32, B [8, 64]; without `add` D = A B.
GPU_FN void productTf32(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b, bool add = true) {
#ifdef __CUDACC__
  asm volatile(
      "{.reg .pred p;\n\tsetp.ne.u32 p,%37,0;\n\twgmma.mma_async.sync.aligned.m64n64k8.f32.tf32.tf32 " GPU_PRODUCT ";}"
      : GPU_ALL_SUMS
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<uint32_t>(add))
      : "memory");
#else
  emulator::product(false, d, a, b, add);
#endif
}

// Waits for all products that were begun.
GPU_FN void waitProducts() {
#ifdef __CUDACC__
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#else
  emulator::waitProducts();
#endif
}
// Closes a group of products; waitProducts() knows only those in groups.
GPU_FN void commitProducts() {
#ifdef __CUDACC__
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
  emulator::commitProducts();
#endif
}
// The compiler does not know that products go on after their instruction: it must not move uses of these registers across.
GPU_FN void pin([[maybe_unused]] float (&d)[8][4]) {
#ifdef __CUDACC__
  asm volatile("" : GPU_ALL_SUMS::"memory");
#endif
}
GPU_FN void pin([[maybe_unused]] uint32_t (&a)[4]) {
#ifdef __CUDACC__
  asm volatile("" : "+r"(a[0]), "+r"(a[1]), "+r"(a[2]), "+r"(a[3])::"memory");
#endif
}

#undef GPU_SUMS
#undef GPU_ALL_SUMS
#undef GPU_PRODUCT

}  // namespace gpu
