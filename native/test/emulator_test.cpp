// The emulator catches what it is there for: kernels with one mistake each, next to the same kernel without it. What only
// AddressSanitizer sees is tried in a child process of a build that has it.
#include "check.h"

#ifndef FEYNKAC_EMULATED
int main() {
  std::printf("emulator: skipped, as this build has no CUDA kernels on the CPU\n");
  return 0;
}
#else
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/cuda/hopper/gpu_hopper.cuh"
#include "kernels/cuda/particles/look_back.cuh"

using namespace feynkac::test;

// What the threads of an abandoned launch own is never freed. Visible, or the sanitizer's library does not find it.
extern "C" __attribute__((visibility("default"))) const char*
__asan_default_options()  // NOLINT(bugprone-reserved-identifier)
{
  return "detect_leaks=0";
}

namespace {

constexpr int kBlock = 64;

enum Bug {
  kNone,
  kNoBarrierBeforeRead,
  kNoBarrierBeforeReuse,
  kEarlyReturn,
  kDivergentBarrier,
  kShuffleInBranch,
  kTailRoundedDown,
  kReadPastTheEnd,
  kWritePastTheEnd,
  kSharedPastTheEnd,
  kWaitTooLate,
  kCopiesInFlight,
  kMisalignedCopy,
  kTrustsBlockOrder,
  kWordsOfAnEarlierRun,
  kNoWarpSync,
  kNoWaitForWeights,
  kTooFewBytes,
  kTooManyBytes,
  kMisalignedBulk,
  kBarrierForFewer,
  kNoWaitBeforeSums,
  kNoWaitBeforeReuse,
  kOverwrittenRows,
  kNoFence,
  kNotCommitted,
  kWrongStride,
  kWrongSwizzle,
  kOneWarpLess,
  kNotPublished,
};

// out[block] = sum of the block's values, twice over the same shared array
template <Bug kBug>
__global__ void blockSums(float* out, const float* x, int n) {
  SHARED(float, part, [kBlock]);
  const int t = threadIdx.x, i = blockIdx.x * kBlock + t;
  if (kBug == kEarlyReturn && i >= n) return;
  const int end = kBug == kTailRoundedDown ? n / kBlock * kBlock : kBug == kReadPastTheEnd ? n + 1 : n;
  float total = 0;
  for (int round = 0; round < 2; ++round) {
    part[kBug == kSharedPastTheEnd ? t + 1 : t] = i < end ? x[i] * (round + 1) : 0.0f;
    if (kBug != kNoBarrierBeforeRead) {
      if (kBug == kDivergentBarrier && t < 32)
        __syncthreads();
      else
        __syncthreads();
    }
    float sum = 0;
    for (int k = 0; k < kBlock; ++k) sum += part[k];
    if (kBug != kNoBarrierBeforeReuse) __syncthreads();
    total += sum;
  }
  if (t == 0) out[kBug == kWritePastTheEnd ? blockIdx.x + 1 : blockIdx.x] = total;
}

// out[i] = sum of the 32 values of i's warp
template <Bug kBug>
__global__ void warpSums(float* out, const float* x) {
  const int t = threadIdx.x;
  float v = x[t];
  if (kBug == kNoWarpSync) {
    SHARED(float, part, [32]);
    part[t] = v;
    v = part[t ^ 1] + v;
  } else if (kBug != kShuffleInBranch || t < 16) {
    v += __shfl_xor_sync(gpu::kFull, v, 1);
  }
  for (int k = 2; k < 32; k *= 2) v += __shfl_xor_sync(gpu::kFull, v, k);
  out[t] = v;
}

// out = x, four values per thread through shared memory in two groups
template <Bug kBug>
__global__ void copies(float* out, const float* x) {
  struct alignas(16) Stage {
    float v[2][kBlock][4];
  };
  SHARED(Stage, stage, );
  const int t = threadIdx.x;
  for (int k = 0; k < 2; ++k) {
    gpu::copyAsync16(stage.v[k][t], x + (k * kBlock + t) * 4 + (kBug == kMisalignedCopy ? 1 : 0), true);
    gpu::commitCopies();
  }
  for (int k = 0; k < 2; ++k) {
    if (k == 0) {
      if (kBug == kWaitTooLate)
        gpu::waitCopies<2>();
      else
        gpu::waitCopies<1>();
    } else if (kBug != kCopiesInFlight) {
      gpu::waitCopies<0>();
    }
    __syncthreads();
    for (int c = 0; c < 4; ++c) out[(k * kBlock + t) * 4 + c] = stage.v[k][t][c];
  }
}

// out[t] = the sum before tile t, each tile's own being `each`. One tile is late, so that those behind it see more than a
// warp's view of tiles that do not know theirs.
template <Bug kBug>
__global__ void sumsBefore(uint64_t* out, uint64_t* words, uint32_t* ticket, uint64_t each) {
  SHARED(unsigned, mine, [1]);
  if (threadIdx.x == 0) mine[0] = kBug == kTrustsBlockOrder ? blockIdx.x : atomicAdd(ticket, 1u);
  __syncthreads();
  const unsigned tile = mine[0];
  for (int i = 0; tile == 3 && i < 50; ++i) __nanosleep(20);
  const uint64_t before = feynkac::lookBack(words, tile, each);
  if (threadIdx.x == 0) out[tile] = before;
}

constexpr int kSteps = 5, kTile = 64 * 16;

// out[64, 64] = sum over the steps of x[64, 16] w[16, 64] in bfloat16, as one warpgroup. w: [step][2][64 columns][8], brought
// into two stages that go round.
template <Bug kBug>
__global__ void products(float* out, const float* x, const uint16_t* w) {
  DYN_SHARED(uint16_t, stages);
  SHARED(uint64_t, filled, [2]);
  SHARED(uint64_t, emptied, [2]);
  const int t = threadIdx.x, lane = t & 31, row = t / 32 * 16 + (lane >> 2);
  if (t == 0)
    for (int i = 0; i < 2; ++i) {
      gpu::initBarrier(&filled[i], 1);
      gpu::initBarrier(&emptied[i], kBug == kBarrierForFewer ? 3 : 4);
    }
  gpu::publishBarriers();
  __syncthreads();
  const auto bring = [&](int step) {
    const uint32_t bytes = kTile * sizeof(uint16_t);
    gpu::arriveExpecting(&filled[step % 2], kBug == kTooFewBytes    ? bytes - 16
                                            : kBug == kTooManyBytes ? bytes + 16
                                                                    : bytes);
    gpu::copyBulk(stages + step % 2 * kTile, w + step * kTile + (kBug == kMisalignedBulk ? 1 : 0), bytes,
                  &filled[step % 2]);
  };
  if (t == 0)
    for (int step = 0; step < 2; ++step) bring(step);
  float sums[8][4] = {};
  for (int step = 0; step < kSteps; ++step) {
    const int stage = step % 2;
    const auto pair = [&](int r, int k) {
      const float* from = x + (step * 64 + row + r) * 16 + (lane & 3) * 2 + k;
      return gpu::toBf16Pair(from[0], from[1]);
    };
    uint32_t a[4] = {pair(0, 0), pair(8, 0), pair(0, 8), pair(8, 8)};
    if (kBug != kNoWaitForWeights) gpu::waitBarrier(&filled[stage], step / 2 % 2);
    const uint64_t b = gpu::matrixAt(stages + stage * kTile, 64 * 16, kBug == kWrongStride ? 256 : 128);
    if (kBug != kNoFence) gpu::beginProducts();
    if (kBug != kOneWarpLess || step > 0 || t < 96)
      gpu::productBf16(sums, a, kBug == kWrongSwizzle ? b | uint64_t(1) << 62 : b);
    if (kBug != kNotCommitted) gpu::commitProducts();
    if (kBug == kOverwrittenRows) a[1] = 0;
    if (kBug == kNoWaitBeforeReuse && lane == 0) gpu::arrive(&emptied[stage]);
    if (kBug == kNoWaitBeforeReuse && t == 0 && step + 2 < kSteps) bring(step + 2);
    if (kBug != kNoWaitBeforeSums || step + 1 < kSteps) gpu::waitProducts();
    if (kBug != kNoWaitBeforeReuse) {
      if (lane == 0) gpu::arrive(&emptied[stage]);
      if (t == 0 && step + 2 < kSteps) {
        gpu::waitBarrier(&emptied[stage], step / 2 % 2);
        bring(step + 2);
      }
    }
  }
  for (int j = 0; j < 8; ++j)
    for (int e = 0; e < 4; ++e) out[(row + (e >> 1) * 8) * 64 + j * 8 + (lane & 3) * 2 + (e & 1)] = sums[j][e];
  if (kBug == kNoWaitBeforeSums) gpu::waitProducts();
}

// out[64, 64] = x[64, 16] w[16, 64] like a step of the above, with w by ordinary writes.
template <Bug kBug>
__global__ void productOfWritten(float* out, const float* x, const uint16_t* w) {
  DYN_SHARED(uint16_t, shared);
  const int t = threadIdx.x, lane = t & 31, row = t / 32 * 16 + (lane >> 2);
  for (int i = t; i < kTile; i += 128) shared[i] = w[i];
  if (kBug != kNotPublished) gpu::publishShared();
  __syncthreads();
  const auto pair = [&](int r, int k) {
    const float* from = x + (row + r) * 16 + (lane & 3) * 2 + k;
    return gpu::toBf16Pair(from[0], from[1]);
  };
  uint32_t a[4] = {pair(0, 0), pair(8, 0), pair(0, 8), pair(8, 8)};
  float sums[8][4] = {};
  gpu::beginProducts();
  gpu::productBf16(sums, a, gpu::matrixAt(shared, 64 * 16, 128));
  gpu::commitProducts();
  gpu::waitProducts();
  for (int j = 0; j < 8; ++j)
    for (int e = 0; e < 4; ++e) out[(row + (e >> 1) * 8) * 64 + j * 8 + (lane & 3) * 2 + (e & 1)] = sums[j][e];
}

template <class T>
struct Device {
  explicit Device(std::vector<T> v) : n(v.size()) {
    cudaMalloc(reinterpret_cast<void**>(&p), n * sizeof(T));
    std::memcpy(p, v.data(), n * sizeof(T));
  }
  ~Device() { cudaFree(p); }
  std::vector<T> get() const { return std::vector<T>(p, p + n); }
  T* p = nullptr;
  size_t n;
};

cudaStream_t stream() {
  static cudaStream_t s = [] {
    cudaStream_t made;
    cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking);
    return made;
  }();
  return s;
}

bool close(const std::vector<float>& a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (!(std::fabs(a[i] - b[i]) < 1e-3f)) return false;
  return a.size() == b.size();
}

template <Bug kBug>
bool blockSumsRight() {
  const int n = 150, blocks = 3;
  const auto x = randomVector(n, 1);
  Device<float> dx(x), out(poisoned(blocks));
  LAUNCH((blockSums<kBug>), blocks, kBlock, 0, stream())(out.p, dx.p, n);
  std::vector<float> want(blocks);
  for (int i = 0; i < n; ++i) want[i / kBlock] += 3 * x[i];
  return close(out.get(), want);
}
template <Bug kBug>
bool warpSumsRight() {
  const auto x = randomVector(32, 2);
  Device<float> dx(x), out(poisoned(32));
  LAUNCH((warpSums<kBug>), 1, 32, 0, stream())(out.p, dx.p);
  float sum = 0;
  for (const float v : x) sum += v;
  return close(out.get(), std::vector<float>(32, sum));
}
template <Bug kBug>
bool copiesRight() {
  const auto x = randomVector(8 * kBlock + 4, 3);
  Device<float> dx(x), out(poisoned(8 * kBlock));
  LAUNCH((copies<kBug>), 1, kBlock, 0, stream())(out.p, dx.p);
  return close(out.get(), std::vector<float>(x.begin(), x.begin() + 8 * kBlock));
}
bool productsRight(int steps, void (*run)(float* out, const float* x, const uint16_t* w)) {
  std::vector<float> x(kSteps * kTile), want(64 * 64);
  std::vector<uint16_t> w(kSteps * kTile + 8);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 7 % 13) - 6;  // exact in bfloat16
  for (size_t i = 0; i < w.size(); ++i)
    w[i] = static_cast<uint16_t>(gpu::toBf16Pair(static_cast<float>(i * 5 % 11) - 5, 0));
  for (int step = 0; step < steps; ++step)
    for (int m = 0; m < 64; ++m)
      for (int n = 0; n < 64; ++n)
        for (int k = 0; k < 16; ++k)
          want[m * 64 + n] += x[(step * 64 + m) * 16 + k] *
                              __uint_as_float(uint32_t(w[step * kTile + (k / 8 * 64 + n) * 8 + k % 8]) << 16);
  Device<float> dx(x), out(poisoned(64 * 64));
  Device<uint16_t> dw(w);
  run(out.p, dx.p, dw.p);
  return close(out.get(), want);
}
template <Bug kBug>
bool productsRight() {
  return productsRight(kSteps, [](float* out, const float* x, const uint16_t* w) {
    LAUNCH((products<kBug>), 2, 128, 2 * kTile * sizeof(uint16_t), stream())(out, x, w);
  });
}
template <Bug kBug>
bool productOfWrittenRight() {
  return productsRight(1, [](float* out, const float* x, const uint16_t* w) {
    LAUNCH((productOfWritten<kBug>), 2, 128, kTile * sizeof(uint16_t), stream())(out, x, w);
  });
}
template <Bug kBug>
bool lookBackRight() {
  const unsigned n = 120;
  if (kBug != kTrustsBlockOrder && emulator::config.resident > 1) emulator::config.resident = 80;
  Device<uint64_t> words(std::vector<uint64_t>(n, 0)), out(std::vector<uint64_t>(n, 1));
  bool right = true;
  for (const uint64_t each : {uint64_t(7), uint64_t(5), feynkac::kMostSum / 50}) {
    Device<uint32_t> ticket({0});
    if (kBug != kWordsOfAnEarlierRun) std::memset(words.p, 0, n * sizeof(uint64_t));
    LAUNCH((sumsBefore<kBug>), n, 32, 0, stream())(out.p, words.p, ticket.p, each);
    uint64_t before = 0;
    for (unsigned t = 0; t < n; ++t) {
      right &= out.p[t] == before;
      before = feynkac::cappedSum(before, each);
    }
  }
  return right;
}

// Whether a run is right under every schedule; what the emulator itself objects to is not right.
bool rightInAllOrders(bool (*run)()) {
  bool right = true;
  for (const auto order : {emulator::kForward, emulator::kReverse, emulator::kRandom})
    for (const auto time : {emulator::kLate, emulator::kEarly})
      for (const int resident : {1, 3}) {
        emulator::config = {};
        emulator::config.order = order;
        emulator::config.copies = time;
        emulator::config.products = resident == 1 ? emulator::kLate : emulator::kEarly;
        emulator::config.resident = resident;
        try {
          right = run() && right;
        } catch (const std::runtime_error&) {
          right = false;
        }
      }
  return right;
}

#if defined(__SANITIZE_ADDRESS__)
bool endsWell(bool (*run)()) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    if (!std::freopen("/dev/null", "w", stderr)) _exit(3);
    _exit(run() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
#endif

// A stream that does not wait for another one sees what was there before.
void testStreams() {
  emulator::config = {};
  emulator::config.lazyStreams = true;
  cudaStream_t a, b;
  cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking);
  for (const bool waits : {false, true}) {
    Device<float> x({1.0f}), y({2.0f}), z({3.0f});
    cudaMemcpyAsync(y.p, x.p, sizeof(float), cudaMemcpyDeviceToDevice, a);
    cudaEvent_t event;
    cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    cudaEventRecord(event, a);
    if (waits) cudaStreamWaitEvent(b, event, 0);
    cudaMemcpyAsync(z.p, y.p, sizeof(float), cudaMemcpyDeviceToDevice, b);
    cudaStreamSynchronize(b);
    CHECK((z.get()[0] == 1.0f) == waits, "waits %d", waits);
    cudaStreamSynchronize(a);
    cudaEventDestroy(event);
  }
  cudaStreamDestroy(a);
  cudaStreamDestroy(b);
  emulator::config = {};
}

}  // namespace

int main() {
  struct Case {
    const char* name;
    bool (*run)();
    bool right;
  };
  const Case cases[] = {
      {"block sums", blockSumsRight<kNone>, true},
      {"no barrier before the read", blockSumsRight<kNoBarrierBeforeRead>, false},
      {"no barrier before the array is reused", blockSumsRight<kNoBarrierBeforeReuse>, false},
      {"early return before a barrier", blockSumsRight<kEarlyReturn>, false},
      {"two different barriers", blockSumsRight<kDivergentBarrier>, false},
      {"tail rounded down", blockSumsRight<kTailRoundedDown>, false},
      {"warp sums", warpSumsRight<kNone>, true},
      {"shuffle of all lanes in a branch", warpSumsRight<kShuffleInBranch>, false},
      {"lanes exchanging without a barrier", warpSumsRight<kNoWarpSync>, false},
      {"asynchronous copies", copiesRight<kNone>, true},
      {"waiting for too few copies", copiesRight<kWaitTooLate>, false},
      {"ending with copies in flight", copiesRight<kCopiesInFlight>, false},
      {"misaligned copy", copiesRight<kMisalignedCopy>, false},
      {"look-back", lookBackRight<kNone>, true},
      {"trusting the order of blocks", lookBackRight<kTrustsBlockOrder>, false},
      {"words of an earlier run", lookBackRight<kWordsOfAnEarlierRun>, false},
      {"products of a warpgroup", productsRight<kNone>, true},
      {"not waiting for the weights", productsRight<kNoWaitForWeights>, false},
      {"expecting too few bytes", productsRight<kTooFewBytes>, false},
      {"expecting too many bytes", productsRight<kTooManyBytes>, false},
      {"misaligned bulk copy", productsRight<kMisalignedBulk>, false},
      {"a barrier for fewer arrivals", productsRight<kBarrierForFewer>, false},
      {"reading sums before products are made", productsRight<kNoWaitBeforeSums>, false},
      {"refilling a stage that products read", productsRight<kNoWaitBeforeReuse>, false},
      {"overwriting rows that products read", productsRight<kOverwrittenRows>, false},
      {"products without a fence", productsRight<kNoFence>, false},
      {"products in no group", productsRight<kNotCommitted>, false},
      {"wrong stride in a descriptor", productsRight<kWrongStride>, false},
      {"a swizzle in a descriptor", productsRight<kWrongSwizzle>, false},
      {"a product that one warp leaves out", productsRight<kOneWarpLess>, false},
      {"product of what threads wrote", productOfWrittenRight<kNone>, true},
      {"not publishing what they wrote", productOfWrittenRight<kNotPublished>, false},
  };
  for (const Case& c : cases) CHECK(rightInAllOrders(c.run) == c.right, "%s", c.name);
#if defined(__SANITIZE_ADDRESS__)
  const Case overruns[] = {
      {"none", blockSumsRight<kNone>, true},
      {"read past the end", blockSumsRight<kReadPastTheEnd>, false},
      {"write past the end", blockSumsRight<kWritePastTheEnd>, false},
      {"shared array past the end", blockSumsRight<kSharedPastTheEnd>, false},
  };
  for (const Case& c : overruns) CHECK(endsWell(c.run) == c.right, "%s", c.name);
#endif
  testStreams();
  return report("emulator");
}
#endif
