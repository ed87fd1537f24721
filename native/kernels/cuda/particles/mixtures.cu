// Gaussian mixtures on CUDA, in float64: factors of the covariances come from the host; each component's log density of
// each row, then the rows' energies and the components' responsibilities, then the gradients. Rows in batches, so that
// what lies between these steps stays small.
#include <algorithm>
#include <cmath>

#include "cuda_particles.h"
#include "kernels/common/gaussian_mixture.h"
#include "kernels/common/random.h"
#include "kernels/cuda/rows.cuh"

namespace feynkac {
namespace {

constexpr int kBlock = 256;
constexpr unsigned kRows = 4;  // rows that share what is read of a full covariance
constexpr size_t kBatch = size_t(1) << 24;

// A mixture in device memory. `factor`: 1 / L of the diagonal forms, L^-1 of a full one, L L^T = covariance + sigma^2 I.
struct Components {
  const double *means, *factor, *logNormal;
  size_t count, d, stride;  // factor[c * stride + i * step] of the diagonal forms
  unsigned step;
};

// logs[r, c] = log w_c N(x[r]; ...), diagonal forms: a RowGroup for each pair of row and component.
template <bool kWide>
__global__ void __launch_bounds__(kBlock)
    diagonalLogs(double* logs, const float* x, Components m, size_t rows, unsigned width) {
  const size_t pair = groupRow<kWide, kBlock>(width), r = pair / m.count, c = pair % m.count;
  double squares = 0;
  if (r < rows)
    for (size_t i = groupLane<kWide>(width); i < m.d; i += width) {
      const double y = (x[r * m.d + i] - m.means[c * m.d + i]) * m.factor[c * m.stride + i * m.step];
      squares += y * y;
    }
  squares = groupSum<kWide, kBlock>(squares, width);
  if (r < rows && groupLane<kWide>(width) == 0) logs[pair] = m.logNormal[c] - 0.5 * squares;
}

// The same for full covariances, and y[r, c] = L^-1 (x[r] - mean): a warp for kRows rows and a component.
__global__ void __launch_bounds__(kBlock) fullLogs(double* logs, double* y, const float* x, Components m, size_t rows) {
  const size_t task = (size_t(blockIdx.x) * kBlock + threadIdx.x) / 32, c = task % m.count,
               first = task / m.count * kRows;
  const unsigned lane = threadIdx.x & 31;
  const size_t d = first < rows ? m.d : 0;
  const double *inverse = m.factor + c * m.stride, *mean = m.means + c * m.d;
  double squares[kRows] = {};
  for (size_t i = 0; i < d; ++i) {
    double v[kRows] = {};
    for (size_t j = lane; j <= i; j += 32) {
      const double l = inverse[i * d + j];
#pragma unroll
      for (unsigned k = 0; k < kRows; ++k) v[k] += l * (x[min(first + k, rows - 1) * d + j] - mean[j]);
    }
#pragma unroll
    for (unsigned k = 0; k < kRows; ++k) {
      v[k] = warpSum(v[k]);
      squares[k] += v[k] * v[k];
      if (lane == 0 && first + k < rows) y[((first + k) * m.count + c) * d + i] = v[k];
    }
  }
#pragma unroll
  for (unsigned k = 0; k < kRows; ++k)
    if (lane == 0 && first + k < rows) logs[(first + k) * m.count + c] = m.logNormal[c] - 0.5 * squares[k];
}

// energy = -log sum_c exp(logs); logs become the responsibilities, the negligible ones 0.
__global__ void __launch_bounds__(kBlock) mixEnergies(double* energy, double* logs, size_t count, size_t rows) {
  const size_t r = size_t(blockIdx.x) * kBlock + threadIdx.x;
  if (r >= rows) return;
  double* l = logs + r * count;
  double most = -HUGE_VAL, total = 0;
  for (size_t c = 0; c < count; ++c) most = l[c] > most ? l[c] : most;
  for (size_t c = 0; c < count; ++c) total += exp(l[c] - most);
  energy[r] = -(most + log(total));
  for (size_t c = 0; c < count; ++c) {
    const double share = exp(l[c] - most) / total;
    l[c] = share < 1e-20 ? 0 : share;
  }
}

// grad = sum_c share_c (x - mean) / L^2
__global__ void __launch_bounds__(kBlock)
    diagonalGrads(float* grad, const float* x, const double* shares, Components m, size_t rows) {
  for (size_t r = size_t(blockIdx.x) * blockDim.y + threadIdx.y; r < rows; r += size_t(gridDim.x) * blockDim.y)
    for (size_t i = size_t(blockIdx.y) * blockDim.x + threadIdx.x; i < m.d; i += size_t(gridDim.y) * blockDim.x) {
      double g = 0;
      for (size_t c = 0; c < m.count; ++c) {
        const double share = shares[r * m.count + c];
        if (share == 0) continue;
        const double f = m.factor[c * m.stride + i * m.step];
        g += share * ((x[r * m.d + i] - m.means[c * m.d + i]) * f) * f;
      }
      grad[r * m.d + i] = static_cast<float>(g);
    }
}

// grad = sum_c share_c L^-T y
__global__ void __launch_bounds__(kBlock, 1)
    fullGrads(float* grad, const double* y, const double* shares, Components m, size_t rows) {
  const size_t groups = (rows + kRows - 1) / kRows;
  for (size_t group = size_t(blockIdx.x) * blockDim.y + threadIdx.y; group < groups;
       group += size_t(gridDim.x) * blockDim.y)
    for (size_t j = size_t(blockIdx.y) * blockDim.x + threadIdx.x; j < m.d; j += size_t(gridDim.y) * blockDim.x) {
      double g[kRows] = {};
      for (size_t c = 0; c < m.count; ++c) {
        const double* inverse = m.factor + c * m.stride;
        double v[kRows] = {};
        size_t at[kRows];
#pragma unroll
        for (unsigned k = 0; k < kRows; ++k) at[k] = min(group * kRows + k, rows - 1) * m.count + c;
        for (size_t i = j; i < m.d; ++i) {
          const double l = inverse[i * m.d + j];
#pragma unroll
          for (unsigned k = 0; k < kRows; ++k) v[k] += l * y[at[k] * m.d + i];
        }
#pragma unroll
        for (unsigned k = 0; k < kRows; ++k)
          if (shares[at[k]] != 0) g[k] += shares[at[k]] * v[k];
      }
#pragma unroll
      for (unsigned k = 0; k < kRows; ++k)
        if (group * kRows + k < rows) grad[(group * kRows + k) * m.d + j] = static_cast<float>(g[k]);
    }
}

// Draw r's component.
__global__ void __launch_bounds__(kBlock) chooseComponents(uint32_t* chosen, const double* weights, size_t count,
                                                           uint64_t seed, size_t firstRow, size_t rows) {
  const size_t r = size_t(blockIdx.x) * kBlock + threadIdx.x;
  if (r >= rows) return;
  double u = uniformAt(seed, kMixture, 0, static_cast<uint32_t>(firstRow + r), 0);
  size_t c = 0;
  while (c + 1 < count && (u -= weights[c]) >= 0) ++c;
  chosen[r] = static_cast<uint32_t>(c);
}

__global__ void __launch_bounds__(kBlock)
    drawNormals(float4* z, uint64_t seed, size_t firstRow, size_t rows, size_t quads) {
  for (size_t r = size_t(blockIdx.x) * blockDim.y + threadIdx.y; r < rows; r += size_t(gridDim.x) * blockDim.y)
    for (size_t q = size_t(blockIdx.y) * blockDim.x + threadIdx.x; q < quads; q += size_t(gridDim.y) * blockDim.x) {
      float four[4];
      normalsFrom(philox(seed, kMixture, 1, static_cast<uint32_t>(firstRow + r), static_cast<uint32_t>(q)), four);
      z[r * quads + q] = make_float4(four[0], four[1], four[2], four[3]);
    }
}

// out = mean + L z; factor: L of a full form, its diagonal of the others.
__global__ void __launch_bounds__(kBlock) placeDraws(float* out, const float* z, const uint32_t* chosen, Components m,
                                                     bool full, size_t rows, size_t padded) {
  for (size_t r = size_t(blockIdx.x) * blockDim.y + threadIdx.y; r < rows; r += size_t(gridDim.x) * blockDim.y)
    for (size_t i = size_t(blockIdx.y) * blockDim.x + threadIdx.x; i < m.d; i += size_t(gridDim.y) * blockDim.x) {
      const size_t c = chosen[r];
      const float* zr = z + r * padded;
      double v = 0;
      if (full)
        for (size_t j = 0; j <= i; ++j) v += m.factor[c * m.stride + i * m.d + j] * zr[j];
      else
        v = m.factor[c * m.stride + i * m.step] * zr[i];
      out[r * m.d + i] = static_cast<float>(m.means[c * m.d + i] + v);
    }
}

// L^-1 in place of a lower triangular L; the upper triangle is not read.
void invertLower(double* l, size_t d) {
  for (size_t j = 0; j < d; ++j) {
    l[j * d + j] = 1 / l[j * d + j];
    for (size_t i = j + 1; i < d; ++i) {
      double v = 0;
      for (size_t k = j; k < i; ++k) v -= l[i * d + k] * l[k * d + j];
      l[i * d + j] = v / l[i * d + i];
    }
  }
}

size_t strideOf(const GaussianMixture& m) {
  return m.form == CovarianceForm::kScalar ? 1 : m.form == CovarianceForm::kDiagonal ? m.d : m.d * m.d;
}

// Rows of a batch of which each needs `values` values in between.
size_t batchOf(size_t rows, size_t values) { return std::min(rows, std::max<size_t>(kRows, kBatch / values)); }

// memory[0]: the means, memory[1]: the factors
Components componentsOf(const GaussianMixture& m, const std::vector<char*>& memory, const double* logNormal) {
  return {as<double>(memory[0]),
          as<double>(memory[1]),
          logNormal,
          m.components,
          m.d,
          strideOf(m),
          m.form == CovarianceForm::kDiagonal ? 1u : 0u};
}

}  // namespace

void CudaParticleKernels::mixtureEnergy(double* energy, float* grad, const float* x, double sigma,
                                        const GaussianMixture& mixture, size_t rows) {
  MixtureLevel level(mixture, sigma);
  if (rows == 0) return;
  const size_t d = mixture.d, count = mixture.components, stride = strideOf(mixture);
  const bool full = mixture.form == CovarianceForm::kFull;
  if (full)
    for (size_t c = 0; c < count; ++c) invertLower(&level.factor[c * stride], d);
  const size_t batch = batchOf(rows, count * (full ? d + 1 : 1));
  const auto memory =
      carve(context_, {count * d * sizeof(double), count * stride * sizeof(double), count * sizeof(double),
                       batch * count * sizeof(double), full ? batch * count * d * sizeof(double) : 0});
  context_.upload(memory[0], mixture.means, count * d * sizeof(double));
  context_.upload(memory[1], level.factor.data(), count * stride * sizeof(double));
  context_.upload(memory[2], level.logNormal.data(), count * sizeof(double));
  double *logs = as<double>(memory[3]), *y = as<double>(memory[4]);
  const Components m = componentsOf(mixture, memory, as<double>(memory[2]));
  cudaStream_t stream = context_.stream();
  for (size_t first = 0; first < rows; first += batch) {
    const size_t n = std::min(batch, rows - first);
    const float* from = x + first * d;
    if (full) {
      LAUNCH((fullLogs), cover((n + kRows - 1) / kRows * count * 32, kBlock), kBlock, 0, stream)(logs, y, from, m, n);
    } else {
      const RowGroup group(n * count, d, kBlock);
      const auto kernel = group.wide ? diagonalLogs<true> : diagonalLogs<false>;
      LAUNCH((kernel), group.blocks, kBlock, 0, stream)(logs, from, m, n, group.width);
    }
    LAUNCH((mixEnergies), cover(n, kBlock), kBlock, 0, stream)(energy + first, logs, count, n);
    const RowGrid g(full ? (n + kRows - 1) / kRows : n, d, kBlock);
    if (full)
      LAUNCH((fullGrads), g.grid, g.block, 0, stream)(grad + first * d, y, logs, m, n);
    else
      LAUNCH((diagonalGrads), g.grid, g.block, 0, stream)(grad + first * d, from, logs, m, n);
    launched("mixtureEnergy");
  }
}

void CudaParticleKernels::mixtureSample(float* out, const GaussianMixture& mixture, uint64_t seed, size_t rows) {
  const size_t d = mixture.d, count = mixture.components, stride = strideOf(mixture), quads = (d + 3) / 4;
  const bool full = mixture.form == CovarianceForm::kFull;
  std::vector<double> factor, weights(count);
  if (full)
    factor = choleskyFactors(mixture);
  else
    for (size_t i = 0; i < count * stride; ++i) factor.push_back(std::sqrt(mixture.covariances[i]));
  for (size_t c = 0; c < count; ++c) weights[c] = std::exp(mixture.logWeights[c]);
  if (rows == 0) return;
  const size_t batch = batchOf(rows, 4 * quads);
  const auto memory =
      carve(context_, {count * d * sizeof(double), count * stride * sizeof(double), count * sizeof(double),
                       batch * sizeof(uint32_t), batch * quads * sizeof(float4)});
  context_.upload(memory[0], mixture.means, count * d * sizeof(double));
  context_.upload(memory[1], factor.data(), count * stride * sizeof(double));
  context_.upload(memory[2], weights.data(), count * sizeof(double));
  const Components m = componentsOf(mixture, memory, nullptr);
  cudaStream_t stream = context_.stream();
  for (size_t first = 0; first < rows; first += batch) {
    const size_t n = std::min(batch, rows - first);
    const RowGrid g(n, quads, kBlock), all(n, d, kBlock);
    LAUNCH((chooseComponents), cover(n, kBlock), kBlock, 0, stream)
    (as<uint32_t>(memory[3]), as<double>(memory[2]), count, seed, first, n);
    LAUNCH((drawNormals), g.grid, g.block, 0, stream)(as<float4>(memory[4]), seed, first, n, quads);
    LAUNCH((placeDraws), all.grid, all.block, 0, stream)
    (out + first * d, as<float>(memory[4]), as<uint32_t>(memory[3]), m, full, n, 4 * quads);
    launched("mixtureSample");
  }
}

}  // namespace feynkac
