// Compositions of models' energies and gradients, and sums of squares of gradients over coordinates or particles.
#include <stdexcept>

#include "cuda_particles.h"
#include "kernels/cuda/rows.cuh"

namespace feynkac {
namespace {

constexpr int kBlock = 256;

// The composed energy of each row and, for a mixture, the models' shares of the gradient.
__global__ void __launch_bounds__(kBlock) composeEnergies(double* energy, double* shares, const double* const* energies,
                                                          const double* c, int count, size_t rows) {
  for (size_t r = size_t(blockIdx.x) * kBlock + threadIdx.x; r < rows; r += size_t(gridDim.x) * kBlock) {
    if (shares == nullptr) {
      double u = 0;
      for (int j = 0; j < count; ++j)
        if (c[j] != 0) u += c[j] * energies[j][r];
      energy[r] = u;
      continue;
    }
    bool invalid = false;
    double most = -HUGE_VAL, sum = 0;
    for (int j = 0; j < count; ++j) {
      const double l = c[j] - energies[j][r];
      invalid |= !(l < HUGE_VAL);  // NaN or infinity
      most = l > most ? l : most;
    }
    const bool none = invalid || most == -HUGE_VAL;
    if (!none)
      for (int j = 0; j < count; ++j) sum += exp(c[j] - energies[j][r] - most);
    const double logSum = none ? -HUGE_VAL : most + log(sum);
    energy[r] = invalid ? NAN : -logSum;
    for (int j = 0; j < count; ++j) shares[size_t(j) * rows + r] = none ? 0 : exp(c[j] - energies[j][r] - logSum);
  }
}

// grad = sum_j shares[j] grads[j], the shares per row or c itself; squares = sum_j c_j |grads[j]|^2. One pass over all of
// the gradients.
template <bool kWide>
__global__ void __launch_bounds__(kBlock)
    composeGrads(float* grad, double* squares, const float* const* grads, const double* c, const double* shares,
                 int count, size_t rows, size_t d, bool aligned, unsigned width) {
  const size_t r = groupRow<kWide, kBlock>(width), quads = r < rows ? (d + 3) / 4 : 0;
  double total = 0;
  for (size_t q = groupLane<kWide>(width); q < quads; q += width) {
    float4 y = make_float4(0, 0, 0, 0);
    for (int j = 0; j < count; ++j) {
      const double share = shares != nullptr ? shares[size_t(j) * rows + r] : c[j];
      if (share == 0 && squares == nullptr) continue;  // 0 times an infinite gradient is 0 here
      const float4 g = loadQuad(grads[j] + r * d, q, d, aligned);
      if (share != 0) add(y, static_cast<float>(share), g);
      total += c[j] * squaresOf(g);
    }
    storeQuad(grad + r * d, q, d, aligned, y);
  }
  total = groupSum<kWide, kBlock>(total, width);
  if (squares != nullptr && r < rows && groupLane<kWide>(width) == 0) squares[r] = total;
}

template <bool kWide>
__global__ void __launch_bounds__(kBlock)
    squareRows(double* out, const float* const* terms, const double* coefficients, int count, bool perRow, size_t rows,
               size_t d, bool aligned, unsigned width) {
  const size_t r = groupRow<kWide, kBlock>(width), quads = r < rows ? (d + 3) / 4 : 0;
  double total = 0;
  for (size_t q = groupLane<kWide>(width); q < quads; q += width) {
    float4 y = make_float4(0, 0, 0, 0);
#pragma unroll 1
    for (int j = 0; j < count; ++j) {
      const double c = coefficients[perRow ? size_t(j) * rows + r : size_t(j)];
      if (c != 0) add(y, static_cast<float>(c), loadQuad(terms[j] + r * d, q, d, aligned));
    }
    total += squaresOf(y);
  }
  total = groupSum<kWide, kBlock>(total, width);
  if (r < rows && groupLane<kWide>(width) == 0) out[r] = total;
}

// out[r] = <a[r] + v b[r], c[r]>; v is one factor, or a table that is zero behind the end.
template <bool kWide>
__global__ void __launch_bounds__(kBlock)
    multiplyRows(double* out, const float* a, const float* b, const float4* table, float v, const float* c, size_t rows,
                 size_t d, bool aligned, unsigned width) {
  const size_t r = groupRow<kWide, kBlock>(width), quads = r < rows ? (d + 3) / 4 : 0;
  double total = 0;
  for (size_t q = groupLane<kWide>(width); q < quads; q += width) {
    const float4 x = loadQuad(a + r * d, q, d, aligned), y = loadQuad(b + r * d, q, d, aligned);
    const float4 z = loadQuad(c + r * d, q, d, aligned);
    const float4 f = table != nullptr ? table[q] : make_float4(v, v, v, v);
    total += (x.x + f.x * y.x) * z.x + (x.y + f.y * y.y) * z.y + (x.z + f.z * y.z) * z.z + (x.w + f.w * y.w) * z.w;
  }
  total = groupSum<kWide, kBlock>(total, width);
  if (r < rows && groupLane<kWide>(width) == 0) out[r] = total;
}

// partial[column, chunk] = the chunk of rows' weighted squares of a column. A block takes blockDim.x columns; its rows in
// threadIdx.y are added up in shared memory.
__global__ void __launch_bounds__(kBlock)
    squareColumns(double* partial, const float* g, const double* weights, size_t rows, size_t d, size_t each) {
  SHARED(double, sums, [kBlock]);
  const size_t first = blockIdx.x * each, end = min(first + each, rows);
  const size_t columns = (d + blockDim.x - 1) / blockDim.x;
  for (size_t block = blockIdx.y; block < columns; block += gridDim.y) {
    const size_t i = block * blockDim.x + threadIdx.x;
    double total = 0;
    if (i < d)
      for (size_t r = first + threadIdx.y; r < end; r += blockDim.y) {
        const double w = weights[r];
        if (w > 0) total += w * (double(g[r * d + i]) * double(g[r * d + i]));
      }
    sums[threadIdx.y * blockDim.x + threadIdx.x] = total;
    __syncthreads();
    if (threadIdx.y == 0 && i < d) {
      for (unsigned y = 1; y < blockDim.y; ++y) total += sums[y * blockDim.x + threadIdx.x];
      partial[i * gridDim.x + blockIdx.x] = total;
    }
    __syncthreads();
  }
}

// out[i] = sum of n values of partial, a warp for each i.
__global__ void __launch_bounds__(kBlock) sumPartials(double* out, const double* partial, size_t d, unsigned n) {
  const size_t i = (size_t(blockIdx.x) * kBlock + threadIdx.x) / 32;
  double total = 0;
  if (i < d)
    for (unsigned k = threadIdx.x & 31; k < n; k += 32) total += partial[i * n + k];
  total = warpSum(total);
  if (i < d && (threadIdx.x & 31) == 0) out[i] = total;
}

constexpr size_t kPiece = 4096;

__global__ void __launch_bounds__(kBlock)
    weighRows(double* partial, const double* squares, const double* weights, size_t rows) {
  const size_t first = blockIdx.x * kPiece, end = min(first + kPiece, rows);
  double total = 0;
  for (size_t r = first + threadIdx.x; r < end; r += kBlock)
    if (weights[r] > 0) total += weights[r] * squares[r];
  total = blockSum<kBlock>(total);
  if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

void squares(cudaStream_t stream, double* out, const float* const* terms, const double* coefficients, int count,
             bool perRow, size_t rows, size_t d, bool aligned) {
  const RowGroup group(rows, (d + 3) / 4, kBlock);
  const auto kernel = group.wide ? squareRows<true> : squareRows<false>;
  LAUNCH((kernel), group.blocks, kBlock, 0, stream)
  (out, terms, coefficients, count, perRow, rows, d, aligned, group.width);
}

}  // namespace

void CudaParticleKernels::compose(double* energy, float* grad, double* squares, const Composition& c, size_t rows,
                                  size_t d) {
  if (rows == 0) return;
  const size_t n = static_cast<size_t>(c.count);
  const auto memory = carve(
      context_, {n * sizeof(void*), n * sizeof(void*), n * sizeof(double), c.mixture ? n * rows * sizeof(double) : 0});
  context_.upload(memory[0], c.energies, n * sizeof(void*));
  context_.upload(memory[1], c.grads, n * sizeof(void*));
  context_.upload(memory[2], c.coefficients, n * sizeof(double));
  double* shares = c.mixture ? as<double>(memory[3]) : nullptr;
  bool aligned = d % 4 == 0 && aligned16(grad);
  for (size_t j = 0; j < n; ++j) aligned = aligned && aligned16(c.grads[j]);
  LAUNCH((composeEnergies), blocksFor(rows, kBlock), kBlock, 0, context_.stream())
  (energy, shares, as<const double*>(memory[0]), as<double>(memory[2]), c.count, rows);
  const RowGroup group(rows, (d + 3) / 4, kBlock);
  const auto kernel = group.wide ? composeGrads<true> : composeGrads<false>;
  LAUNCH((kernel), group.blocks, kBlock, 0, context_.stream())
  (grad, squares, as<const float*>(memory[1]), as<double>(memory[2]), shares, c.count, rows, d, aligned, group.width);
  launched("compose");
}

void CudaParticleKernels::rowSquares(double* out, const LinearTerms& linear, size_t rows, size_t d) {
  if (rows == 0) return;
  const DeviceTerms terms(context_, linear);
  squares(context_.stream(), out, terms.terms, terms.coefficients, linear.count, linear.perRow, rows, d,
          d % 4 == 0 && terms.aligned);
  launched("rowSquares");
}

void CudaParticleKernels::rowProducts(double* out, const float* a, const float* b, const double* v, int vStride,
                                      const float* c, size_t rows, size_t d) {
  if (rows == 0 || d == 0) return;
  float* table = nullptr;
  if (vStride != 0) {
    std::vector<float> factors((d + 3) / 4 * 4);
    for (size_t i = 0; i < d; ++i) factors[i] = static_cast<float>(v[i]);
    table = context_.scratch<float>(factors.size());
    context_.upload(table, factors.data(), factors.size() * sizeof(float));
  }
  const RowGroup group(rows, (d + 3) / 4, kBlock);
  const bool aligned = d % 4 == 0 && aligned16(a) && aligned16(b) && aligned16(c);
  const auto kernel = group.wide ? multiplyRows<true> : multiplyRows<false>;
  LAUNCH((kernel), group.blocks, kBlock, 0, context_.stream())
  (out, a, b, reinterpret_cast<const float4*>(table), static_cast<float>(v[0]), c, rows, d, aligned, group.width);
  launched("rowProducts");
}

void CudaParticleKernels::columnSquares(double* out, const float* g, const double* weights, size_t rows, size_t d,
                                        bool goesOn) {
  if (goesOn) throw std::logic_error("sums of columns go on from earlier ones on the host alone");
  if (d == 0) return;
  unsigned across = 1;
  while (across < d && across < 64) across *= 2;
  const unsigned columns = cover(d, across), down = kBlock / across;
  // chunks of rows: about a thousand blocks, and not less than 16 rows for each thread
  const unsigned wanted = columns < 1024 ? 1024 / columns : 1;
  const unsigned chunks = std::max(1u, std::min(wanted, cover(rows, 16 * down)));
  double* partial = context_.scratch<double>(d * chunks);
  LAUNCH((squareColumns), dim3(chunks, std::min(columns, 65535u)), dim3(across, down), 0, context_.stream())
  (partial, g, weights, rows, d, (rows + chunks - 1) / chunks);
  LAUNCH((sumPartials), cover(d * 32, kBlock), kBlock, 0, context_.stream())(out, partial, d, chunks);
  launched("columnSquares");
}

double CudaParticleKernels::meanSquares(const float* g, const double* weights, size_t rows, size_t d) {
  const unsigned pieces = std::max(1u, cover(rows, kPiece));
  const auto memory =
      carve(context_, {sizeof(void*), sizeof(double), rows * sizeof(double), pieces * sizeof(double), sizeof(double)});
  const double one = 1;
  context_.upload(memory[0], &g, sizeof(void*));
  context_.upload(memory[1], &one, sizeof one);
  double *each = as<double>(memory[2]), *partial = as<double>(memory[3]), *total = as<double>(memory[4]);
  if (rows > 0)
    squares(context_.stream(), each, as<const float*>(memory[0]), as<double>(memory[1]), 1, false, rows, d,
            d % 4 == 0 && aligned16(g));
  LAUNCH((weighRows), pieces, kBlock, 0, context_.stream())(partial, each, weights, rows);
  LAUNCH((sumPartials), 1, kBlock, 0, context_.stream())(total, partial, 1, pieces);
  launched("meanSquares");
  double sum = 0;
  context_.download(&sum, total, sizeof sum);
  return sum / static_cast<double>(d);
}

}  // namespace feynkac
