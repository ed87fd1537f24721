// Log-weights on CUDA: one pass makes each piece's largest value and the sums relative to it, a second over the few pieces
// makes the whole's; the order of the sums depends on the sizes alone.
#include <cmath>

#include "cuda_particles.h"
#include "kernels/cuda/reduce.cuh"

namespace feynkac {
namespace {

constexpr int kBlock = 256, kTopBlock = 512, kEach = 8;
constexpr size_t kPiece = size_t(kBlock) * kEach;

// max lw, and sum exp(lw - max), sum exp(lw - max)^2; with an invalid value nothing else means anything
struct Partial {
  double max, sum, squares;
  long long invalid;  // the first NaN or +infinity; kNone: none
};
constexpr long long kNone = 0x7fffffffffffffffll;

template <int kThreads, class T, class Better>
GPU_FN T blockBest(T v, const Better& better) {
  SHARED(T, best, [kThreads / 32]);
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) {
    const T other = __shfl_xor_sync(gpu::kFull, v, offset);
    if (better(other, v)) v = other;
  }
  if ((threadIdx.x & 31) == 0) best[threadIdx.x >> 5] = v;
  __syncthreads();
  for (int i = 0; i < kThreads / 32; ++i)
    if (better(best[i], v)) v = best[i];
  __syncthreads();
  return v;
}
struct Larger {
  template <class T>
  GPU_FN bool operator()(T a, T b) const {
    return a > b;
  }
};
struct Smaller {
  template <class T>
  GPU_FN bool operator()(T a, T b) const {
    return a < b;
  }
};

// exp(v - max), also where both are -infinity
GPU_FN double relative(double v, double max) { return v == -HUGE_VAL ? 0 : exp(v - max); }

struct Increment {
  const double* const* terms;
  const double* coefficients;
  int count;
  double constant;
  GPU_FN double operator()(size_t i) const {
    double sum = constant;
    for (int j = 0; j < count; ++j) sum += coefficients[j] * terms[j][i];
    return sum;
  }
};

// What is summed: the log-weights as they are, after the increment, or after it and once more, where a weight is alive.
enum class Summed { kThese, kUpdated, kAgain };

__global__ void __launch_bounds__(kBlock)
    sumPieces(Partial* partials, double* lw, Increment add, Summed which, size_t n) {
  const size_t first = blockIdx.x * kPiece;
  double v[kEach], most = -HUGE_VAL;
  long long invalid = kNone;
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    const size_t i = first + k * kBlock + threadIdx.x;
    v[k] = -HUGE_VAL;
    if (i >= n) continue;
    double l = lw[i];
    if (which != Summed::kThese && l != -HUGE_VAL) l += add(i);
    if (which == Summed::kUpdated) lw[i] = l;
    if (!(l < HUGE_VAL) && static_cast<long long>(i) < invalid) invalid = static_cast<long long>(i);
    if (l > most) most = l;
    v[k] = l;
  }
  most = blockBest<kBlock>(most, Larger());
  invalid = blockBest<kBlock>(invalid, Smaller());
  double sum = 0, squares = 0;
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    const double w = relative(v[k], most);
    sum += w;
    squares += w * w;
  }
  sum = blockSum<kBlock>(sum);
  squares = blockSum<kBlock>(squares);
  if (threadIdx.x == 0) partials[blockIdx.x] = {most, sum, squares, invalid};
}

// One block.
__global__ void __launch_bounds__(kTopBlock) mergePieces(Partial* out, const Partial* partials, size_t n) {
  double most = -HUGE_VAL, sum = 0, squares = 0;
  long long invalid = kNone;
  for (size_t i = threadIdx.x; i < n; i += kTopBlock) {
    if (partials[i].max > most) most = partials[i].max;
    if (partials[i].invalid < invalid) invalid = partials[i].invalid;
  }
  most = blockBest<kTopBlock>(most, Larger());
  invalid = blockBest<kTopBlock>(invalid, Smaller());
  for (size_t i = threadIdx.x; i < n; i += kTopBlock) {
    const double scale = relative(partials[i].max, most);
    sum += scale * partials[i].sum;
    squares += scale * scale * partials[i].squares;
  }
  sum = blockSum<kTopBlock>(sum);
  squares = blockSum<kTopBlock>(squares);
  if (threadIdx.x == 0) out[0] = {most, sum, squares, invalid};
}

__global__ void __launch_bounds__(kBlock) normalise(double* weights, const double* lw, const Partial* all, size_t n) {
  const double max = all->max, sum = all->sum;
  if (all->invalid != kNone || !(sum > 0)) return;
  for (size_t i = size_t(blockIdx.x) * kBlock + threadIdx.x; i < n; i += size_t(gridDim.x) * kBlock)
    weights[i] = exp(lw[i] - max) / sum;
}

__global__ void __launch_bounds__(kBlock) sumRows(double* out, Increment sum, size_t rows) {
  for (size_t r = size_t(blockIdx.x) * kBlock + threadIdx.x; r < rows; r += size_t(gridDim.x) * kBlock) out[r] = sum(r);
}

LogWeightStats statsOf(Context& context, const Partial* all) {
  Partial p{};
  context.download(&p, all, sizeof p);
  if (p.invalid != kNone) return {-HUGE_VAL, 0, p.invalid};
  if (!(p.sum > 0)) return {-HUGE_VAL, 0, -1};
  return {p.max + std::log(p.sum), p.sum * p.sum / p.squares, -1};
}

// Puts terms and coefficients where the device can read them, in scratch memory with room for `more` bytes.
Increment incrementOf(Context& context, const double* const* terms, const double* coefficients, int count,
                      double constant, size_t more = 0, char** room = nullptr) {
  const size_t n = static_cast<size_t>(count);
  const auto memory = carve(context, {n * sizeof(void*), n * sizeof(double), more});
  context.upload(memory[0], terms, n * sizeof(void*));
  context.upload(memory[1], coefficients, n * sizeof(double));
  if (room != nullptr) *room = memory[2];
  return {as<const double*>(memory[0]), as<double>(memory[1]), count, constant};
}

}  // namespace

void CudaParticleKernels::sumTerms(double* out, const double* const* terms, const double* coefficients, int count,
                                   double constant, size_t rows) {
  if (rows == 0) return;
  const Increment sum = incrementOf(context_, terms, coefficients, count, constant);
  LAUNCH((sumRows), blocksFor(rows, kBlock), kBlock, 0, context_.stream())(out, sum, rows);
  launched("sumTerms");
}

LogWeightStats CudaParticleKernels::logWeightStats(const double* lw, size_t n) {
  if (n == 0) return {-HUGE_VAL, 0, -1};
  const unsigned pieces = cover(n, kPiece);
  Partial* all = context_.scratch<Partial>(size_t(pieces) + 1);
  LAUNCH((sumPieces), pieces, kBlock, 0, context_.stream())
  (all + 1, const_cast<double*>(lw), Increment{}, Summed::kThese, n);
  LAUNCH((mergePieces), 1, kTopBlock, 0, context_.stream())(all, all + 1, size_t(pieces));
  launched("logWeightStats");
  return statsOf(context_, all);
}

LogWeightStats CudaParticleKernels::reweight(double* lw, double* weights, const double* const* terms,
                                             const double* coefficients, int count, double constant, size_t n) {
  if (n == 0) return {-HUGE_VAL, 0, -1};
  const unsigned pieces = cover(n, kPiece);
  char* partials = nullptr;
  const Increment add =
      incrementOf(context_, terms, coefficients, count, constant, (size_t(pieces) + 2) * sizeof(Partial), &partials);
  Partial *all = as<Partial>(partials), *again = all + 1, *parts = all + 2;
  LAUNCH((sumPieces), pieces, kBlock, 0, context_.stream())(parts, lw, add, Summed::kUpdated, n);
  LAUNCH((mergePieces), 1, kTopBlock, 0, context_.stream())(all, parts, size_t(pieces));
  LAUNCH((normalise), blocksFor(n, kBlock), kBlock, 0, context_.stream())(weights, lw, all, n);
  LAUNCH((sumPieces), pieces, kBlock, 0, context_.stream())(parts, lw, add, Summed::kAgain, n);
  LAUNCH((mergePieces), 1, kTopBlock, 0, context_.stream())(again, parts, size_t(pieces));
  launched("reweight");
  LogWeightStats stats = statsOf(context_, all);
  stats.logSumAgain = statsOf(context_, again).logSum;
  return stats;
}

}  // namespace feynkac
