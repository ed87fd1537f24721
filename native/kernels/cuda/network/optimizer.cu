// The losses, the gradient norm, Adam with its moving average, and training noise.
#include <cmath>

#include "kernels/common/clip.h"
#include "kernels/common/random.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/reduce.cuh"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

constexpr int kBlock = 256;
constexpr size_t kPiece = 16384;  // values of one partial sum: fixed, so that the result does not depend on the device

__global__ void __launch_bounds__(kBlock)
    loss(float* v, double* losses, const float* g, const float* target, op::LossForm form, size_t n) {
  const size_t origin = blockIdx.x * n;
  double s = 0;
  for (size_t i = threadIdx.x; i < n; i += kBlock) {
    const float d = g[origin + i] - target[origin + i];
    v[origin + i] = 2.0f * form.weight * d;
    s += double(d) * double(d);
  }
  s = blockSum<kBlock>(s);
  if (threadIdx.x == 0) losses[blockIdx.x] = s;
}

// One thread per sample: there are few of them, and fewer levels.
__global__ void __launch_bounds__(kBlock)
    levels(float* c, double* losses, double* residual, const double* energy, const double* free, const double* slope,
           const int32_t* truth, double weight, int nLevels, int batch) {
  const int b = blockIdx.x * kBlock + threadIdx.x;
  if (b >= batch) return;
  double most = free[b] - energy[b], sum = 0;
  for (int j = 1; j < nLevels; ++j) most = fmax(most, free[j * batch + b] - energy[j * batch + b]);
  for (int j = 0; j < nLevels; ++j) sum += exp(free[j * batch + b] - energy[j * batch + b] - most);
  const int right = truth[b];
  losses[b] = log(sum) - (free[right * batch + b] - energy[right * batch + b] - most);
  for (int j = 0; j < nLevels; ++j) {
    const int at = j * batch + b;
    residual[at] = exp(free[at] - energy[at] - most) / sum - (j == right ? 1.0 : 0.0);
    c[at] = static_cast<float>(-weight * slope[at] * residual[at]);
  }
}

__global__ void __launch_bounds__(kBlock) partialSquares(double* partial, const float* g, size_t n) {
  const size_t first = blockIdx.x * kPiece, end = min(first + kPiece, n);
  double s = 0;
  for (size_t i = first + threadIdx.x; i < end; i += kBlock) s += double(g[i]) * double(g[i]);
  s = blockSum<kBlock>(s);
  if (threadIdx.x == 0) partial[blockIdx.x] = s;
}

__global__ void __launch_bounds__(kBlock) total(double* out, const double* partial, int n) {
  double s = 0;
  for (int i = threadIdx.x; i < n; i += kBlock) s += partial[i];
  s = blockSum<kBlock>(s);
  if (threadIdx.x == 0) out[0] = s;
}

// What is the same for all parameters.
struct Update {
  float beta1, beta2, oneMinusBeta1, oneMinusBeta2, step, rootCorrection, eps, emaStep;
  double clip;
};

GPU_FN void update(float& p, float& ema, float& m, float& v, float g, float gradScale, const Update& u) {
  g *= gradScale;
  m = m * u.beta1 + g * u.oneMinusBeta1;
  v = v * u.beta2 + g * g * u.oneMinusBeta2;
  p -= m * u.step / (sqrtf(v) * u.rootCorrection + u.eps);
  ema += (p - ema) * u.emaStep;
}

template <class T>
__global__ void __launch_bounds__(kBlock)
    adamStep(T* params, T* ema, T* m, T* v, const T* grad, const double* sumsq, Update u, size_t n) {
  const double squares = sumsq[0];
  if (!(squares - squares == 0)) return;  // not finite
  const float gradScale = clipScale(squares, u.clip);
  for (size_t i = size_t(blockIdx.x) * kBlock + threadIdx.x; i < n; i += size_t(gridDim.x) * kBlock) {
    T pi = params[i], ei = ema[i], mi = m[i], vi = v[i];
    const T gi = grad[i];
    if constexpr (sizeof(T) == sizeof(float)) {
      update(pi, ei, mi, vi, gi, gradScale, u);
    } else {
      update(pi.x, ei.x, mi.x, vi.x, gi.x, gradScale, u);
      update(pi.y, ei.y, mi.y, vi.y, gi.y, gradScale, u);
      update(pi.z, ei.z, mi.z, vi.z, gi.z, gradScale, u);
      update(pi.w, ei.w, mi.w, vi.w, gi.w, gradScale, u);
    }
    params[i] = pi;
    ema[i] = ei;
    m[i] = mi;
    v[i] = vi;
  }
}

// Four normals of one Philox block per thread.
__global__ void __launch_bounds__(kBlock)
    noise(float* x, const float* x0, const float* sigma, uint64_t seed, uint32_t purpose, uint32_t step,
          uint32_t firstRow, int rows, size_t n) {
  const size_t quads = (n + 3) / 4;
  for (size_t k = size_t(blockIdx.x) * kBlock + threadIdx.x; k < rows * quads; k += size_t(gridDim.x) * kBlock) {
    const size_t r = k / quads, i = k % quads * 4;
    float z[4];
    normalsFrom(philox(seed, purpose, step, firstRow + static_cast<uint32_t>(r), static_cast<uint32_t>(i / 4)), z);
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (i + j < n) x[r * n + i + j] = x0[r * n + i + j] + sigma[r] * z[j];
  }
}

}  // namespace

void CudaKernels::run(const op::ProjectionLoss& o) {
  LAUNCH((loss), o.batch, kBlock, 0, context_.stream())(o.v, o.losses, o.g, o.target, o.form, o.n);
  launched("projectionLoss");
}

void CudaKernels::run(const op::LevelLoss& o) {
  LAUNCH((levels), static_cast<int>(cover(o.batch, kBlock)), kBlock, 0, context_.stream())
  (o.c, o.losses, o.residual, o.energy, o.free, o.slope, o.truth, o.weight, o.levels, o.batch);
  launched("levelLoss");
}

void CudaKernels::run(const op::SumSquares& o) {
  const int pieces = static_cast<int>(cover(o.n, kPiece));
  double* partial = context_.scratch<double>(pieces);
  LAUNCH((partialSquares), pieces, kBlock, 0, context_.stream())(partial, o.g, o.n);
  LAUNCH((total), 1, kBlock, 0, context_.stream())(o.out, partial, pieces);
  launched("sumSquares");
}

void CudaKernels::run(const op::Adam& o) {
  const AdamStep& s = o.step;
  const double t = static_cast<double>(s.step);
  const Update u = {static_cast<float>(s.beta1),
                    static_cast<float>(s.beta2),
                    static_cast<float>(1 - s.beta1),
                    static_cast<float>(1 - s.beta2),
                    static_cast<float>(s.lr / (1 - std::pow(s.beta1, t))),
                    static_cast<float>(1 / std::sqrt(1 - std::pow(s.beta2, t))),
                    static_cast<float>(s.eps),
                    static_cast<float>(1 - s.emaDecay),
                    s.clip};
  if (o.n % 4 == 0 && aligned16(o.params) && aligned16(o.ema) && aligned16(o.m) && aligned16(o.v) &&
      aligned16(o.grad)) {
    const auto four = [](auto* p) { return reinterpret_cast<float4*>(p); };
    LAUNCH((adamStep<float4>), blocksFor(o.n / 4, kBlock), kBlock, 0, context_.stream())
    (four(o.params), four(o.ema), four(o.m), four(o.v), reinterpret_cast<const float4*>(o.grad), o.sumsq, u, o.n / 4);
  } else {
    LAUNCH((adamStep<float>), blocksFor(o.n, kBlock), kBlock, 0, context_.stream())
    (o.params, o.ema, o.m, o.v, o.grad, o.sumsq, u, o.n);
  }
  launched("adam");
}

void CudaKernels::run(const op::AddNoise& o) {
  LAUNCH((noise), blocksFor(o.rows * ((o.n + 3) / 4), kBlock), kBlock, 0, context_.stream())
  (o.x, o.x0, o.sigma, o.seed, o.purpose, o.step, o.firstRow, o.rows, o.n);
  launched("addNoise");
}

}  // namespace FEYNKAC_PATH
}  // namespace feynkac
