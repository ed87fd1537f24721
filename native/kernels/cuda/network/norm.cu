// Group norm with a shift before it and SiLU after it, and the passes of docs/concepts/distillation.md; formulas as in
// kernels/cpu/network/norm.cpp. A pass is one sweep (the second adjoint: two) that sums over the pixels of each channel, a small
// kernel that combines the channels of a group into coefficients for each channel, and one sweep that writes. So the
// primal and the adjoints read their inputs twice, mostly from the cache the second time, and write once.
#include <type_traits>

#include "kernels/cuda/cuda_kernels.h"
#include "norm_passes.cuh"

namespace feynkac {
namespace FEYNKAC_PATH {
namespace {

// The scratch of one pass and the launches' sizes.
struct Pass {
  Pass(Context& context, const NormShape& shape, bool aligned, int sums, int coefficients, bool parameters)
      : stream(context.stream()), batch(shape.batch), vectors(aligned && shape.channels % 4 == 0) {
    s = {shape.pixels, shape.channels, shape.groups, static_cast<int>(cover(shape.pixels, kSlice)),
         static_cast<int>(cover(shape.channels, kColumns))};
    const size_t channels = size_t(batch) * s.channels;
    eachSum = channels * s.slices;
    eachCoefficient = channels;
    const size_t doubles = sums * eachSum + (parameters ? 2 * channels : 0);
    memory = context.scratch<double>(doubles + (coefficients * channels + 1) / 2);
    samples = {parameters ? memory + sums * eachSum : nullptr,
               parameters ? memory + sums * eachSum + channels : nullptr, nullptr};
    floats = reinterpret_cast<float*>(memory + doubles);
  }
  double* sums(int first) const { return memory + first * eachSum; }
  ChannelSums channelSums(int first) const { return {sums(first), eachSum}; }
  Coefficients coefficients(int first) const { return {floats + first * eachCoefficient, eachCoefficient}; }
  unsigned blocks() const { return static_cast<unsigned>(batch * s.slices * s.tiles); }
  unsigned groupBlocks() const { return cover(size_t(batch) * (s.groups > 0 ? s.groups : s.channels), kBlock / 32); }

  cudaStream_t stream;
  int batch;
  bool vectors;
  Sweep s;
  double* memory;
  float* floats;
  size_t eachSum, eachCoefficient;
  ParameterSums samples;
};

// f(V, silu) with the two as compile-time constants.
template <class F>
void withForm(bool vectors, bool silu, const F& f) {
  using std::integral_constant;
  const auto withV = [&](auto v) {
    if (silu)
      f(v, std::true_type());
    else
      f(v, std::false_type());
  };
  if (vectors)
    withV(integral_constant<int, 4>());
  else
    withV(integral_constant<int, 1>());
}

template <class... P>
bool allAligned(P... p) {
  return (aligned16(p) && ...);
}

// Rows of their own are sums over one image of all their channels.
void addParameters(const Pass& p, float* dgamma, float* dbeta, bool rowAffine) {
  if (dgamma == nullptr) return;
  const int images = rowAffine ? 1 : p.batch, channels = rowAffine ? p.batch * p.s.channels : p.s.channels;
  LAUNCH((addImages), cover(channels, 32), kBlock, 0, p.stream)(dgamma, dbeta, p.samples, images, channels);
}

}  // namespace

void CudaKernels::run(const op::Norm& o) {
  const NormShape& s = o.s;
  const bool grouped = s.groups > 0;
  const Pass p(context_, s, allAligned(o.y, o.x), grouped ? 2 : 0, 0, false);
  const Map m = {o.x, o.e, grouped ? o.stats : nullptr, o.gamma, o.beta, s.rowAffine ? s.channels : 0};
  withForm(p.vectors, s.silu, [&](auto v, auto silu) {
    constexpr int V = v();
    if (grouped) {
      LAUNCH((sumMoments<V>), p.blocks(), kBlock, 0, p.stream)(p.sums(0), p.eachSum, o.x, p.s);
      LAUNCH((finishMoments), p.groupBlocks(), kBlock, 0, p.stream)
      (o.stats, p.channelSums(0), o.x, o.e, p.s, s.batch, s.eps);
    }
    LAUNCH((writePrimal<V, silu()>), p.blocks(), kBlock, 0, p.stream)(o.y, m, p.s);
  });
  launched("norm");
}

void CudaKernels::run(const op::NormAdjoint& o) {
  const NormShape& s = o.s;
  const bool grouped = s.groups > 0, sums = grouped || o.de != nullptr;
  const Pass p(context_, s, allAligned(o.dx, o.dy, o.x), sums ? 3 : 0, sums ? 2 : 0, o.dgamma != nullptr);
  const Map m = {o.x, o.e, grouped ? o.stats : nullptr, o.gamma, o.beta, s.rowAffine ? s.channels : 0};
  const Coefficients c = sums ? p.coefficients(0) : Coefficients{nullptr, 0};
  withForm(p.vectors, s.silu, [&](auto v, auto silu) {
    constexpr int V = v();
    if (sums) {
      LAUNCH((sumAdjoint<V, silu()>), p.blocks(), kBlock, 0, p.stream)(p.sums(0), p.eachSum, o.dy, m, p.s);
      LAUNCH((finishAdjoint), p.groupBlocks(), kBlock, 0, p.stream)
      (c, ParameterSums{p.samples.dgamma, p.samples.dbeta, o.de}, p.channelSums(0), m, p.s, s.batch);
    }
    LAUNCH((writeAdjoint<V, silu()>), p.blocks(), kBlock, 0, p.stream)(o.dx, o.dy, m, c, o.accumulate, p.s);
  });
  addParameters(p, o.dgamma, o.dbeta, s.rowAffine);
  launched("normAdjoint");
}

void CudaKernels::run(const op::NormTangent& o) {
  const NormShape& s = o.s;
  const bool grouped = s.groups > 0;
  const Pass p(context_, s, allAligned(o.ty, o.tx, o.x), grouped ? 3 : 0, grouped ? 2 : 0, false);
  const Map m = {o.x, o.e, grouped ? o.stats : nullptr, o.gamma, o.beta, s.rowAffine ? s.channels : 0};
  const Coefficients c = grouped ? p.coefficients(0) : Coefficients{nullptr, 0};
  withForm(p.vectors, s.silu, [&](auto v, auto silu) {
    constexpr int V = v();
    if (grouped) {
      LAUNCH((sumTangent<V>), p.blocks(), kBlock, 0, p.stream)(p.sums(0), p.eachSum, o.tx, m, p.s);
      LAUNCH((finishTangent), p.groupBlocks(), kBlock, 0, p.stream)(c, p.channelSums(0), m, p.s, s.batch);
    }
    LAUNCH((writeTangent<V, silu()>), p.blocks(), kBlock, 0, p.stream)(o.ty, o.tx, m, c, p.s);
  });
  launched("normTangent");
}

void CudaKernels::run(const op::NormSecond& o) {
  const NormShape& s = o.s;
  const bool grouped = s.groups > 0, sums = grouped || o.de != nullptr;
  const Pass p(context_, s, allAligned(o.dx, o.by, o.ay, o.tx, o.x), sums ? 8 : 0, sums ? 6 : 0, o.dgamma != nullptr);
  const Map m = {o.x, o.e, grouped ? o.stats : nullptr, o.gamma, o.beta, s.rowAffine ? s.channels : 0};
  const SecondInputs in = {o.by, o.ay, o.tx};
  const Coefficients none = {nullptr, 0}, tangent = grouped ? p.coefficients(0) : none,
                     c = sums ? p.coefficients(2) : none;
  withForm(p.vectors, s.silu, [&](auto v, auto silu) {
    constexpr int V = v();
    if (grouped) {
      LAUNCH((sumTangent<V>), p.blocks(), kBlock, 0, p.stream)(p.sums(0), p.eachSum, o.tx, m, p.s);
      LAUNCH((finishTangent), p.groupBlocks(), kBlock, 0, p.stream)(tangent, p.channelSums(0), m, p.s, s.batch);
    }
    if (sums) {
      LAUNCH((sumSecond<V, silu()>), p.blocks(), kBlock, 0, p.stream)(p.sums(3), p.eachSum, in, m, tangent, p.s);
      LAUNCH((finishSecond), p.groupBlocks(), kBlock, 0, p.stream)
      (c, ParameterSums{p.samples.dgamma, p.samples.dbeta, o.de}, p.channelSums(0), p.channelSums(3), m, p.s, s.batch);
    }
    LAUNCH((writeSecond<V, silu()>), p.blocks(), kBlock, 0, p.stream)(o.dx, in, m, tangent, c, o.accumulate, p.s);
  });
  addParameters(p, o.dgamma, o.dbeta, s.rowAffine);
  launched("normSecond");
}

}  // namespace FEYNKAC_PATH
}  // namespace feynkac
