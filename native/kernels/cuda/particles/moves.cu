// Moves of particles: proposals with both of their densities, linear combinations with noise.
#include <cmath>

#include "cuda_particles.h"
#include "kernels/common/random.h"
#include "kernels/cuda/rows.cuh"

namespace feynkac {
namespace {

constexpr int kBlock = 256;
constexpr double kLogTwoPi = 1.8378770664093454836;

GPU_FN float4 normalQuad(const NormalKey& key, size_t r, size_t q) {
  float z[4];
  normalsFrom(philox(key.seed, key.purpose, key.step, key.first + static_cast<uint32_t>(r), static_cast<uint32_t>(q)),
              z);
  return make_float4(z[0], z[1], z[2], z[3]);
}

// A constant of the proposal per coordinate: one for all, or a table that is zero behind the end.
struct Coefficient {
  const float4* table;
  float one;
  GPU_FN float4 operator[](size_t q) const { return table != nullptr ? table[q] : make_float4(one, one, one, one); }
};

struct Move {
  Coefficient drift, spread, perTau, perV;
  double logForward, logBackward;  // the densities' normalisers
};

// A coordinate's move and what it adds to the sums.
GPU_FN float moved(float x, float g, float z, float drift, float spread, float perTau, float perV, bool counts,
                   float& f, float& b, float& a) {
  const float mean = x - drift * g, next = mean + spread * z;
  const float step = next - mean, back = x - next;  // from the stored value: rounding is part of the move
  if (counts) {
    f += step * step * perTau;
    b += back * back * perV;
    a += g * back;
  }
  return next;
}

template <bool kWide>
__global__ void __launch_bounds__(kBlock)
    proposeRows(float* out, double* logForward, double* logBackward, double* alignment, double* gradSquares,
                const float* x, const float* g, Move m, NormalKey key, size_t rows, size_t d, bool aligned,
                unsigned width) {
  const size_t r = groupRow<kWide, kBlock>(width), quads = r < rows ? (d + 3) / 4 : 0;
  double forward = 0, backward = 0, align = 0, squares = 0;
  for (size_t q = groupLane<kWide>(width); q < quads; q += width) {
    const float4 xi = loadQuad(x + r * d, q, d, aligned), gi = loadQuad(g + r * d, q, d, aligned);
    const float4 z = normalQuad(key, r, q);
    const float4 drift = m.drift[q], spread = m.spread[q], perTau = m.perTau[q], perV = m.perV[q];
    const size_t left = d - 4 * q;
    float f = 0, b = 0, a = 0;
    float4 y;
    y.x = moved(xi.x, gi.x, z.x, drift.x, spread.x, perTau.x, perV.x, true, f, b, a);
    y.y = moved(xi.y, gi.y, z.y, drift.y, spread.y, perTau.y, perV.y, left > 1, f, b, a);
    y.z = moved(xi.z, gi.z, z.z, drift.z, spread.z, perTau.z, perV.z, left > 2, f, b, a);
    y.w = moved(xi.w, gi.w, z.w, drift.w, spread.w, perTau.w, perV.w, left > 3, f, b, a);
    storeQuad(out + r * d, q, d, aligned, y);
    forward += f;
    backward += b;
    align += a;
    squares += squaresOf(gi);
  }
  forward = groupSum<kWide, kBlock>(forward, width);
  backward = groupSum<kWide, kBlock>(backward, width);
  align = groupSum<kWide, kBlock>(align, width);
  squares = groupSum<kWide, kBlock>(squares, width);
  if (r < rows && groupLane<kWide>(width) == 0) {
    logForward[r] = m.logForward - 0.5 * forward;
    logBackward[r] = m.logBackward - 0.5 * backward;
    alignment[r] = align;
    gradSquares[r] = squares;
  }
}

__global__ void __launch_bounds__(kBlock)
    combineRows(float* out, const float* const* terms, const double* coefficients, int count, bool perRow, float noise,
                NormalKey key, size_t rows, size_t d, bool aligned) {
  const size_t quads = (d + 3) / 4;
  for (size_t r = size_t(blockIdx.x) * blockDim.y + threadIdx.y; r < rows; r += size_t(gridDim.x) * blockDim.y)
    for (size_t q = size_t(blockIdx.y) * blockDim.x + threadIdx.x; q < quads; q += size_t(gridDim.y) * blockDim.x) {
      float4 y = make_float4(0, 0, 0, 0);
      for (int j = 0; j < count; ++j) {
        const double c = coefficients[perRow ? size_t(j) * rows + r : size_t(j)];
        if (c != 0) add(y, static_cast<float>(c), loadQuad(terms[j] + r * d, q, d, aligned));
      }
      if (noise != 0) add(y, noise, normalQuad(key, r, q));
      storeQuad(out + r * d, q, d, aligned, y);
    }
}

}  // namespace

void CudaParticleKernels::propose(float* out, double* logForward, double* logBackward, double* alignment,
                                  double* gradSquares, const float* x, const float* g, const Proposal& p,
                                  const NormalKey& key, size_t rows, size_t d) {
  if (rows == 0 || d == 0) return;
  const bool table = p.vStride != 0 || p.tauStride != 0;
  const size_t n = table ? d : 1, padded = (d + 3) / 4 * 4;
  std::vector<float> c(table ? 4 * padded : 4);
  float* part[4];  // drift, spread, 1 / tau, 1 / v
  for (int k = 0; k < 4; ++k) part[k] = c.data() + k * (table ? padded : 1);
  double logTau = 0, logV = 0;
  for (size_t i = 0; i < n; ++i) {
    const double v = p.v[i * p.vStride], tau = p.tau[i * p.tauStride];
    part[0][i] = static_cast<float>(v);
    part[1][i] = static_cast<float>(std::sqrt(tau));
    part[2][i] = static_cast<float>(1 / tau);
    part[3][i] = static_cast<float>(1 / v);
    const double times = p.tauStride != 0 ? 1 : i == 0 ? static_cast<double>(d) : 0;
    const double timesV = p.vStride != 0 ? 1 : i == 0 ? static_cast<double>(d) : 0;
    logTau += times * std::log(tau);
    logV += timesV * std::log(v);
  }
  Move m{{nullptr, part[0][0]}, {nullptr, part[1][0]}, {nullptr, part[2][0]}, {nullptr, part[3][0]}, 0, 0};
  m.logForward = -0.5 * (logTau + static_cast<double>(d) * kLogTwoPi);
  m.logBackward = -0.5 * (logV + static_cast<double>(d) * kLogTwoPi);
  if (table) {
    float* memory = context_.scratch<float>(c.size());
    context_.upload(memory, c.data(), c.size() * sizeof(float));
    Coefficient* const parts[] = {&m.drift, &m.spread, &m.perTau, &m.perV};
    for (int k = 0; k < 4; ++k) parts[k]->table = reinterpret_cast<const float4*>(memory + k * padded);
  }
  const RowGroup group(rows, (d + 3) / 4, kBlock);
  const bool aligned = d % 4 == 0 && aligned16(out) && aligned16(x) && aligned16(g);
  const auto kernel = group.wide ? proposeRows<true> : proposeRows<false>;
  LAUNCH((kernel), group.blocks, kBlock, 0, context_.stream())
  (out, logForward, logBackward, alignment, gradSquares, x, g, m, key, rows, d, aligned, group.width);
  launched("propose");
}

void CudaParticleKernels::combine(float* out, const LinearTerms& linear, double noise, const NormalKey& key,
                                  size_t rows, size_t d) {
  if (rows == 0 || d == 0) return;
  const DeviceTerms terms(context_, linear);
  const RowGrid g(rows, (d + 3) / 4, kBlock);
  LAUNCH((combineRows), g.grid, g.block, 0, context_.stream())
  (out, terms.terms, terms.coefficients, linear.count, linear.perRow, static_cast<float>(noise), key, rows, d,
   d % 4 == 0 && aligned16(out) && terms.aligned);
  launched("combine");
}

}  // namespace feynkac
