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

#include "kernels/cuda/look_back.cuh"

using namespace feynkac::test;

// What the threads of an abandoned launch own is never freed.
extern "C" const char* __asan_default_options()  // NOLINT(bugprone-reserved-identifier)
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
