// Muon: momentum, orthogonalised by Newton-Schulz steps on its Gram matrix.
#include <cmath>

#include "kernels/common/clip.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/reduce.cuh"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

constexpr int kBlock = 256;
constexpr size_t kPiece = 16384;  // values of one partial sum: fixed, so that the result does not depend on the device
constexpr int kTile = 16;

GPU_FN bool finite(const double* sumsq) { return sumsq[0] - sumsq[0] == 0; }

// m, and x = momentum m + (1 - momentum) g, with the sums of its squares
__global__ void __launch_bounds__(kBlock) momentum(float* x, double* partial, float* m, const float* grad,
                                                   const double* sumsq, double clip, float keep, float take, size_t n) {
  if (!finite(sumsq)) return;
  const float scale = clipScale(sumsq[0], clip);
  const size_t first = blockIdx.x * kPiece, end = min(first + kPiece, n);
  double s = 0;
  for (size_t i = first + threadIdx.x; i < end; i += kBlock) {
    const float g = grad[i] * scale * take;
    const float mi = m[i] * keep + g;
    const float u = mi * keep + g;
    m[i] = mi;
    x[i] = u;
    s += double(u) * double(u);
  }
  s = blockSum<kBlock>(s);
  if (threadIdx.x == 0) partial[blockIdx.x] = s;
}

__global__ void __launch_bounds__(kBlock) inverseNorm(float* out, const double* partial, int n) {
  double s = 0;
  for (int i = threadIdx.x; i < n; i += kBlock) s += partial[i];
  s = blockSum<kBlock>(s);
  if (threadIdx.x == 0) out[0] = s > 0 ? static_cast<float>(1 / sqrt(s)) : 0.0f;
}

struct Matrix {
  const float* p;
  int row, column;  // strides
};

// This thread's element (i, j) of A B, whose sum goes over k values; all threads of a block call it.
GPU_FN float element(Matrix a, Matrix b, int i, int j, int rows, int columns, int k) {
  SHARED(float, ta, [kTile][kTile + 1]);
  SHARED(float, tb, [kTile][kTile + 1]);
  const int tx = threadIdx.x % kTile, ty = threadIdx.x / kTile;
  float sum = 0;
  for (int first = 0; first < k; first += kTile) {
    ta[ty][tx] = i < rows && first + tx < k ? a.p[size_t(i) * a.row + size_t(first + tx) * a.column] : 0.0f;
    tb[ty][tx] = j < columns && first + ty < k ? b.p[size_t(first + ty) * b.row + size_t(j) * b.column] : 0.0f;
    __syncthreads();
#pragma unroll
    for (int l = 0; l < kTile; ++l) sum += ta[ty][l] * tb[l][tx];
    __syncthreads();
  }
  return sum;
}

GPU_FN int rowOf() { return blockIdx.y * kTile + threadIdx.x / kTile; }
GPU_FN int columnOf() { return blockIdx.x * kTile + threadIdx.x % kTile; }

// C = factor^2 A B, all of n x n but for the length of the sum; factor: null for 1
__global__ void __launch_bounds__(kTile* kTile)
    product(float* c, Matrix a, Matrix b, const float* factor, int n, int k) {
  const int i = rowOf(), j = columnOf();
  const float sum = element(a, b, i, j, n, n, k), f = factor != nullptr ? factor[0] : 1.0f;
  if (i < n && j < n) c[size_t(i) * n + j] = f * f * sum;
}

// P = constant I + linear G + square G^2
__global__ void __launch_bounds__(kTile* kTile) polynomial(float* p, const float* gram, int n) {
  const int i = rowOf(), j = columnOf();
  const Matrix g = {gram, n, 1};
  const float squared = element(g, g, i, j, n, n, n);
  if (i < n && j < n)
    p[size_t(i) * n + j] =
        kMuonLinear * gram[size_t(i) * n + j] + kMuonSquare * squared + (i == j ? kMuonConstant : 0.0f);
}

// w -= rate factor (X Q), and the average; element (i, j) of the tall matrix is the one at i x.row + j x.column.
__global__ void __launch_bounds__(kTile* kTile)
    apply(float* w, float* ema, Matrix x, const float* q, const float* factor, const double* sumsq, float rate,
          float emaStep, int tall, int narrow) {
  if (!finite(sumsq)) return;
  const int i = rowOf(), j = columnOf();
  const float sum = element(x, {q, narrow, 1}, i, j, tall, narrow, narrow);
  if (i >= tall || j >= narrow) return;
  const size_t at = size_t(i) * x.row + size_t(j) * x.column;
  const float moved = w[at] - rate * (factor[0] * sum);
  w[at] = moved;
  ema[at] += (moved - ema[at]) * emaStep;
}

dim3 tiles(int rows, int columns) {
  return dim3(static_cast<unsigned>(cover(columns, kTile)), static_cast<unsigned>(cover(rows, kTile)));
}

}  // namespace

void CudaKernels::run(const op::Muon& o) {
  const MuonStep& s = o.step;
  const int rows = o.rows, columns = o.columns;
  const bool turned = rows < columns;
  const int tall = turned ? columns : rows, narrow = turned ? rows : columns;
  const size_t size = size_t(rows) * columns, square = size_t(narrow) * narrow;
  const int pieces = static_cast<int>(cover(size, kPiece));
  auto* partial = context_.scratch<double>(pieces + 1 + (size + 5 * square) / 2 + 1);
  auto* factor = reinterpret_cast<float*>(partial + pieces);
  float *x = factor + 2, *gram = x + size, *p = gram + square, *q = p + square, *w = q + square;
  const auto stream = context_.stream();
  const Matrix whole = turned ? Matrix{x, 1, columns} : Matrix{x, columns, 1}, across = {x, whole.column, whole.row};
  const auto dense = [&](const float* of) { return Matrix{of, narrow, 1}; };
  const dim3 grid = tiles(narrow, narrow);
  constexpr int kThreads = kTile * kTile;

  LAUNCH((momentum), pieces, kBlock, 0, stream)
  (x, partial, o.m, o.grad, o.sumsq, s.clip, static_cast<float>(s.momentum), static_cast<float>(1 - s.momentum), size);
  LAUNCH((inverseNorm), 1, kBlock, 0, stream)(factor, partial, pieces);
  LAUNCH((product), grid, kThreads, 0, stream)(gram, across, whole, factor, narrow, tall);
  for (int round = 0; round < kMuonRounds; ++round) {
    float* by = round == 0 ? q : p;
    LAUNCH((polynomial), grid, kThreads, 0, stream)(by, gram, narrow);
    if (round > 0) {
      LAUNCH((product), grid, kThreads, 0, stream)(w, dense(q), dense(p), nullptr, narrow, narrow);
      std::swap(q, w);
    }
    if (round + 1 == kMuonRounds) break;
    // the Gram matrix of what has been multiplied by the polynomial, with which it commutes
    by = round == 0 ? q : p;
    LAUNCH((product), grid, kThreads, 0, stream)(w, dense(by), dense(gram), nullptr, narrow, narrow);
    LAUNCH((product), grid, kThreads, 0, stream)(gram, dense(by), dense(w), nullptr, narrow, narrow);
  }
  LAUNCH((apply), tiles(tall, narrow), kThreads, 0, stream)
  (o.params, o.ema, whole, q, factor, o.sumsq, static_cast<float>(s.lr * kMuonScale * std::sqrt(double(tall))),
   static_cast<float>(1 - s.emaDecay), tall, narrow);
  launched("muon");
}

}  // namespace FEYNKAC_PATH
}  // namespace feynkac
