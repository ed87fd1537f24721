// Muon: momentum, orthogonalised by Newton-Schulz steps on its Gram matrix. All is done on a tall copy of the matrix, [long, short],
// whose rows are whole vectors.
#include "kernels/common/clip.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/small_gemm.h"

namespace feynkac {
namespace FEYNKAC_ISA {

namespace {

constexpr int kPieceFloats = 4096;
constexpr int kPieceRows = 24;

int pieces(int n, int piece) { return (n + piece - 1) / piece; }

// C[rows, width] = A[rows, k] B[k, width]; rows of B and C have `width` values, a multiple of kLanes.
void product(float* c, GemmA a, const float* b, int rows, int width, int k) {
  parallelFor(pieces(rows, kPieceRows), [&](int piece) {
    const int first = piece * kPieceRows, count = rows - first < kPieceRows ? rows - first : kPieceRows;
    const GemmA part = {a.p + first * a.row, a.row, a.column};
    gemm(c + size_t(first) * width, width, part, b, width, count, width, k, false);
  });
}

}  // namespace

void CpuKernels::run(const op::Muon& o) {
  if (!__builtin_isfinite(o.sumsq[0])) return;
  const MuonStep& step = o.step;
  const int rows = o.rows, columns = o.columns;
  const float scale = clipScale(o.sumsq[0], step.clip);
  const auto keep = static_cast<float>(step.momentum), take = static_cast<float>(1 - step.momentum);
  const bool turned = rows < columns;
  const int tall = turned ? columns : rows, narrow = turned ? rows : columns;
  const int width = pieces(narrow, kLanes) * kLanes;
  const int size = rows * columns, count = pieces(size, kPieceFloats);
  const size_t large = size_t(tall) * width, small = size_t(narrow) * width;
  float* memory = scratch(0, 2 * size_t(count) + 2 * large + 4 * small + kLanes);
  auto* partial = reinterpret_cast<double*>(memory);
  float* x = memory + pieces(2 * count, kLanes) * kLanes;
  float *moved = x + large, *gram = moved + large, *p = gram + small, *q = p + small, *w = q + small;

  // moved: what is to be orthogonalised, as the matrix has it
  parallelFor(count, [&](int piece) {
    const int first = piece * kPieceFloats, end = size - first < kPieceFloats ? size : first + kPieceFloats;
    double squares = 0;
    for (int i = first; i < end; ++i) {
      const float g = o.grad[i] * scale * take;
      o.m[i] = o.m[i] * keep + g;
      const float u = o.m[i] * keep + g;
      moved[i] = u;
      squares += double(u) * double(u);
    }
    partial[piece] = squares;
  });
  double squares = 0;
  for (int piece = 0; piece < count; ++piece) squares += partial[piece];
  const auto inverse = static_cast<float>(squares > 0 ? 1 / __builtin_sqrt(squares) : 0.0);
  parallelFor(pieces(tall, kPieceRows), [&](int piece) {
    const int end = (piece + 1) * kPieceRows < tall ? (piece + 1) * kPieceRows : tall;
    for (int i = piece * kPieceRows; i < end; ++i)
      for (int j = 0; j < width; ++j) {
        const size_t from = turned ? size_t(j) * columns + i : size_t(i) * columns + j;
        x[size_t(i) * width + j] = j < narrow ? moved[from] * inverse : 0.0f;
      }
  });

  product(gram, {x, 1, size_t(width)}, x, narrow, width, tall);
  for (int round = 0; round < kMuonRounds; ++round) {
    float* polynomial = round == 0 ? q : p;
    product(w, {gram, size_t(width), 1}, gram, narrow, width, narrow);
    parallelFor(pieces(narrow, kPieceRows), [=](int piece) {
      const int end = (piece + 1) * kPieceRows < narrow ? (piece + 1) * kPieceRows : narrow;
      for (int i = piece * kPieceRows; i < end; ++i)
        for (int j = 0; j < width; ++j) {
          const size_t at = size_t(i) * width + j;
          polynomial[at] = kMuonLinear * gram[at] + kMuonSquare * w[at] + (i == j ? kMuonConstant : 0.0f);
        }
    });
    if (round > 0) {
      product(w, {q, size_t(width), 1}, p, narrow, width, narrow);
      float* last = q;
      q = w;
      w = last;
    }
    if (round + 1 == kMuonRounds) break;
    // the Gram matrix of what has been multiplied by the polynomial, with which it commutes
    const float* by = round == 0 ? q : p;
    product(w, {by, size_t(width), 1}, gram, narrow, width, narrow);
    product(gram, {by, size_t(width), 1}, w, narrow, width, narrow);
  }
  product(moved, {x, size_t(width), 1}, q, tall, width, narrow);

  const auto rate = static_cast<float>(step.lr * kMuonScale * __builtin_sqrt(double(tall)));
  const auto emaStep = static_cast<float>(1 - step.emaDecay);
  parallelFor(pieces(rows, kPieceRows), [&](int piece) {
    const int end = (piece + 1) * kPieceRows < rows ? (piece + 1) * kPieceRows : rows;
    for (int i = piece * kPieceRows; i < end; ++i)
      for (int j = 0; j < columns; ++j) {
        const size_t at = size_t(i) * columns + j;
        o.params[at] -= rate * moved[turned ? size_t(j) * width + i : size_t(i) * width + j];
        o.ema[at] += (o.params[at] - o.ema[at]) * emaStep;
      }
  });
}

}  // namespace FEYNKAC_ISA
}  // namespace feynkac
