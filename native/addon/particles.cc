// Particles at the border, their rows: argument checks, and jobs on the kernels; lib/native/particle-ops.ts declares them.
#include "kernels/common/particles.h"

#include <memory>
#include <string>
#include <vector>

#include "addon.h"
#include "kernels/common/random.h"
#include "particle_request.h"

namespace feynkac::addon {
namespace {

using Napi::CallbackInfo;
using Napi::Object;
using Napi::Value;

Value propose(const CallbackInfo& info) {
  Request q(info);
  const auto logForward = q.array<double>("logForward");
  const size_t rows = logForward.size;
  const auto logBackward = q.array<double>("logBackward", rows);
  const auto alignment = q.array<double>("alignment", rows);
  const auto squares = q.array<double>("gradSquares", rows);
  const auto x = q.array<float>("x");
  const size_t d = rowLength(x.size, rows, "x");
  const auto out = q.array<float>("out", x.size), grad = q.array<float>("grad", x.size);
  const auto v = hostArray<double>(q["v"], "v"), tau = hostArray<double>(q["tau"], "tau");
  for (const auto& a : {v, tau})
    if (a.size != 1 && a.size != d) throw wrong("v and tau", "1 or " + std::to_string(d) + " variances");
  const NormalKey key{integerOf(q["seed"], "seed"), kPropose, wordOf(q["step"], "step"), firstOf(q["first"])};
  return q.startOrDo(x.size, [=](ParticleKernels& kernels, const Stop&) {
    const Proposal p{v.data, tau.data, v.size == 1 ? 0 : 1, tau.size == 1 ? 0 : 1};
    kernels.propose(out.data, logForward.data, logBackward.data, alignment.data, squares.data, x.data, grad.data, p,
                    key, rows, d);
  });
}

Value combine(const CallbackInfo& info) {
  Request q(info);
  const auto out = q.array<float>("out");
  const size_t rows = integerOf(q["rows"], "rows"), d = rowLength(out.size, rows, "out");
  const auto terms = termsOf<float>(q, "terms", out.size);
  const auto coefficients = hostArray<double>(q["coefficients"], "coefficients", terms.size());
  NormalKey key{};
  double std = 0;
  if (const Value noise = q["noise"]; noise.IsObject()) {
    const Object n = noise.As<Object>();
    std = numberOf(n["std"], "noise.std");
    key = {integerOf(n["seed"], "noise.seed"), wordOf(n["purpose"], "noise.purpose"), wordOf(n["step"], "noise.step"),
           firstOf(n["first"])};
  }
  return q.startOrDo(out.size * (terms.size() + 1), [=](ParticleKernels& kernels, const Stop&) {
    kernels.combine(out.data, {terms.data(), coefficients.data, static_cast<int>(terms.size()), false}, std, key, rows,
                    d);
  });
}

Value dct(const CallbackInfo& info) {
  Request q(info);
  const auto x = q.array<float>("x");
  const auto out = q.array<float>("out", x.size);
  const auto sides = listOf(q["shape"], "shape", [](const Value& v, const std::string& name) -> size_t {
    return integerOf(v, name, 2147483647.0);
  });
  if (sides.size() != 3) throw wrong("shape", "channels, height and width");
  const Planes planes{sides[0], sides[1], sides[2]};
  for (const size_t side : {planes.height, planes.width})
    if (side == 0 || side > Planes::kMaxSide)
      throw wrong("shape", "a height and a width from 1 to " + std::to_string(Planes::kMaxSide));
  const size_t size = planes.channels * planes.height * planes.width;
  if (size == 0 || x.size % size != 0) throw wrong("x", "whole rows of " + std::to_string(size));
  const Value way = q["inverse"];
  const bool inverse = way.IsBoolean() && way.As<Napi::Boolean>().Value();
  return q.start(
      [=](ParticleKernels& kernels, const Stop&) { kernels.dct(out.data, x.data, planes, inverse, x.size / size); });
}

Value gather(const CallbackInfo& info) {
  Request q(info);
  const auto ancestors = q.array<int32_t>("ancestors");
  const size_t rows = ancestors.size;
  const RowPairs pairs = rowPairsOf(q, rows);
  return q.startOrDo(pairs.valuesOf(rows), [=](ParticleKernels& kernels, const Stop&) {
    if (!kernels.areInRange(ancestors.data, rows, rows)) throw wrong("ancestors", "indices of the particles");
    for (size_t j = 0; j < pairs.from.size(); ++j)
      kernels.gather(pairs.to[j].data, pairs.from[j].data, ancestors.data, rows, pairs.to[j].bytes);
  });
}

Value metropolis(const CallbackInfo& info) {
  Request q(info);
  const auto accepted = q.array<uint8_t>("accepted");
  const size_t rows = accepted.size;
  const auto logRatio = q.array<double>("logRatio", rows);
  const RowPairs pairs = rowPairsOf(q, rows);
  const NormalKey key{integerOf(q["seed"], "seed"), kAccept, wordOf(q["step"], "step"), firstOf(q["first"])};
  auto count = std::make_shared<size_t>(0);
  return q.startOrDo(
      pairs.valuesOf(rows),
      [=](ParticleKernels& kernels, const Stop&) {
        *count = kernels.metropolis(accepted.data, logRatio.data, key, rows);
        for (size_t j = 0; j < pairs.from.size(); ++j)
          kernels.copyAccepted(pairs.to[j].data, pairs.from[j].data, accepted.data, rows, pairs.from[j].bytes);
      },
      [count](Napi::Env env) { return Napi::Number::New(env, static_cast<double>(*count)); });
}

Value normals(const CallbackInfo& info) {
  const auto out = hostArray<float>(info[0], "out");
  const size_t rows = integerOf(info[1], "rows"), d = rowLength(out.size, rows, "out");
  const NormalKey key{integerOf(info[2], "seed"), wordOf(info[3], "purpose"), wordOf(info[4], "step"),
                      firstOf(info[5])};
  hostKernels().combine(out.data, {nullptr, nullptr, 0, false}, 1, key, rows, d);
  return info.Env().Undefined();
}

Value uniforms(const CallbackInfo& info) {
  const auto out = hostArray<double>(info[0], "out");
  const size_t rows = integerOf(info[1], "rows"), d = rowLength(out.size, rows, "out");
  const NormalKey key{integerOf(info[2], "seed"), wordOf(info[3], "purpose"), wordOf(info[4], "step"),
                      firstOf(info[5])};
  hostKernels().uniforms(out.data, key, rows, d);
  return info.Env().Undefined();
}

}  // namespace

void initParticles(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, auto function) { exports[name] = Napi::Function::New(env, function, name); };
  add("propose", guarded<propose>);
  add("combine", guarded<combine>);
  add("dct", guarded<dct>);
  add("gather", guarded<gather>);
  add("metropolis", guarded<metropolis>);
  add("normals", guarded<normals>);
  add("uniforms", guarded<uniforms>);
}

}  // namespace feynkac::addon
