// A population at the border: its weights, its ancestors and its genealogy. As particles.cc.
#include <cmath>
#include <memory>
#include <vector>

#include "addon.h"
#include "kernels/common/particles.h"
#include "kernels/common/resampling.h"
#include "kernels/cpu/runtime/extremes.h"
#include "kernels/cpu/runtime/genealogy.h"
#include "kernels/cpu/runtime/host_particles.h"
#include "particle_request.h"

namespace feynkac::addon {
namespace {

using Napi::CallbackInfo;
using Napi::Object;
using Napi::Value;

Value statsObject(Napi::Env env, const LogWeightStats& s) {
  auto out = Object::New(env);
  out["logSum"] = Napi::Number::New(env, s.logSum);
  out["ess"] = Napi::Number::New(env, s.ess);
  out["invalid"] = Napi::Number::New(env, static_cast<double>(s.invalid));
  out["logSumAgain"] = Napi::Number::New(env, s.logSumAgain);
  return out;
}

// Where an array of the kernels' memory has its copy on the host: itself, if it lies there.
template <class T>
void fetch(ParticleKernels& kernels, T* host, const T* there, size_t n) {
  if (host != there) kernels.download(host, there, n * sizeof(T));
}

Roots rootsOf(const Object& roots, size_t n) {
  const Value families = roots["families"];
  return {hostArray<int32_t>(roots["of"], "roots.of", n).data,
          families.IsUndefined() ? nullptr : hostArray<double>(families, "roots.families", n).data};
}

// What the shares of the weight, on the host, say of a population.
struct Shares {
  double* of = nullptr;
  Roots roots{};
  const double* energy = nullptr;
  double concentration = std::nan(""), meanEnergy = std::nan("");

  void look(ParticleKernels& kernels, const double* weights, size_t n) {
    fetch(kernels, of, weights, n);
    concentration = feynkac::concentration(roots, of, n);
    if (energy == nullptr) return;
    std::vector<double> copy;
    const double* values = energy;
    if (&kernels != &hostKernels()) {
      copy.resize(n);
      kernels.download(copy.data(), energy, n * sizeof(double));
      values = copy.data();
    }
    meanEnergy = weightedSum(values, of, n);
  }
};

Value reweight(const CallbackInfo& info) {
  Request q(info);
  const auto lw = q.array<double>("logWeights");
  const auto weights = q.array<double>("weights", lw.size);
  const auto terms = termsOf<double>(q, "terms", lw.size);
  const auto coefficients = hostArray<double>(q["coefficients"], "coefficients", terms.size());
  const double constant = numberOf(q["constant"], "constant");
  auto stats = std::make_shared<LogWeightStats>();
  auto shares = std::make_shared<Shares>();
  if (const Value roots = q["roots"]; roots.IsObject()) {
    shares->of = hostArray<double>(q["shares"], "shares", lw.size).data;
    shares->roots = rootsOf(roots.As<Object>(), lw.size);
    if (!q["energy"].IsUndefined()) shares->energy = q.array<double>("energy", lw.size).data;
  }
  return q.startOrDo(
      lw.size * (terms.size() + 1),
      [=](ParticleKernels& kernels, const Stop&) {
        *stats = kernels.reweight(lw.data, weights.data, terms.data(), coefficients.data,
                                  static_cast<int>(terms.size()), constant, lw.size);
        if (shares->of != nullptr && stats->invalid < 0 && stats->ess > 0) shares->look(kernels, weights.data, lw.size);
      },
      [stats, shares](Napi::Env env) {
        auto out = statsObject(env, *stats).As<Object>();
        out["concentration"] = Napi::Number::New(env, shares->concentration);
        out["meanEnergy"] = Napi::Number::New(env, shares->meanEnergy);
        return out;
      });
}

Value logWeightStats(const CallbackInfo& info) {
  const auto lw = hostArray<double>(info[0], "logWeights");
  return statsObject(info.Env(), hostKernels().logWeightStats(lw.data, lw.size));
}

Value resampleNow(const CallbackInfo& info) {
  const auto weights = hostArray<double>(info[0], "weights");
  const Scheme scheme = schemeOf(textOf(info[1], "scheme").c_str());
  auto out = Napi::Int32Array::New(info.Env(), integerOf(info[2], "n", 2147483647.0));
  if (info[3].IsNull()) {
    hostKernels().resample(out.Data(), out.ElementLength(), scheme, weights.data, weights.size,
                           {integerOf(info[4], "seed"), 0u});
  } else {
    const auto given = hostArray<double>(info[3], "uniforms");
    hostKernels().resample(out.Data(), out.ElementLength(), scheme, weights.data, weights.size,
                           Uniforms(given.data, given.size));
  }
  return out;
}

// The next generation's roots, and its shares of the weight.
struct Descent {
  Roots roots{};
  int32_t* next = nullptr;
  size_t distinct = 0;
  double concentration = std::nan("");

  Descent() = default;
  Descent(const Object& from, size_t n)
      : roots(rootsOf(from, n)), next(hostArray<int32_t>(from["next"], "roots.next", n).data) {}

  void run(const int32_t* ancestors, const double* weights, size_t n) {
    distinct = descend(next, roots.of, ancestors, n);
    concentration = feynkac::concentration({next, roots.families}, weights, n);
  }
  Object object(Napi::Env env) const {
    auto out = Object::New(env);
    out["distinct"] = Napi::Number::New(env, static_cast<double>(distinct));
    out["concentration"] = Napi::Number::New(env, concentration);
    return out;
  }
};

Value resampleJob(const CallbackInfo& info) {
  Request q(info);
  const auto weights = q.array<double>("weights");
  const size_t n = weights.size;
  const auto ancestors = q.array<int32_t>("ancestors", n);
  const Scheme scheme = schemeOf(textOf(q["scheme"], "scheme").c_str());
  const Uniforms uniforms(integerOf(q["seed"], "seed"), wordOf(q["step"], "step"));
  const RowPairs pairs = q["from"].IsUndefined() ? RowPairs() : rowPairsOf(q, n);
  double* logWeights = q["logWeights"].IsUndefined() ? nullptr : q.array<double>("logWeights", n).data;
  auto descent = std::make_shared<Descent>();
  Span<int32_t> drawn{};
  Span<double> shares{};
  if (const Value roots = q["roots"]; roots.IsObject()) {
    *descent = Descent(roots.As<Object>(), n);
    drawn = hostArray<int32_t>(q["drawn"], "drawn", n);
    shares = hostArray<double>(q["shares"], "shares", n);
  }
  auto unique = std::make_shared<size_t>(0);
  return q.startOrDo(
      pairs.valuesOf(n),
      [=](ParticleKernels& kernels, const Stop&) {
        kernels.resample(ancestors.data, n, scheme, weights.data, n, uniforms);
        *unique = kernels.countDistinct(ancestors.data, n, n);
        for (size_t j = 0; j < pairs.from.size(); ++j)
          kernels.gather(pairs.to[j].data, pairs.from[j].data, ancestors.data, n, pairs.to[j].bytes);
        if (logWeights != nullptr) {
          kernels.sumTerms(logWeights, nullptr, nullptr, 0, 0, n);
          kernels.sumTerms(weights.data, nullptr, nullptr, 0, 1 / static_cast<double>(n), n);
        }
        if (descent->next == nullptr) return;
        fetch(kernels, drawn.data, ancestors.data, n);
        fetch(kernels, shares.data, weights.data, n);
        descent->run(drawn.data, shares.data, n);
      },
      [unique, descent](Napi::Env env) {
        Object out = descent->object(env);
        out["unique"] = Napi::Number::New(env, static_cast<double>(*unique));
        return out;
      });
}

Value descendJob(const CallbackInfo& info) {
  Request q(info);
  const auto ancestors = hostArray<int32_t>(q["ancestors"], "ancestors");
  const size_t n = ancestors.size;
  const auto weights = hostArray<double>(q["weights"], "weights", n);
  const Value roots = q["roots"];
  if (!roots.IsObject()) throw wrong("roots", "an object");
  const auto descent = std::make_shared<Descent>(roots.As<Object>(), n);
  return q.startOrDo(
      n, [=](ParticleKernels&, const Stop&) { descent->run(ancestors.data, weights.data, n); },
      [descent](Napi::Env env) { return descent->object(env); });
}

Value extremes(const CallbackInfo& info) {
  Request q(info);
  const auto weights = hostArray<double>(q["weights"], "weights");
  const auto chosen = hostArray<int32_t>(q["chosen"], "chosen", weights.size);
  const double share = numberOf(q["share"], "share");
  auto count = std::make_shared<size_t>(0);
  return q.start([=](ParticleKernels&,
                     const Stop&) { *count = feynkac::extremes(chosen.data, weights.data, weights.size, share); },
                 [count](Napi::Env env) { return Napi::Number::New(env, static_cast<double>(*count)); });
}

}  // namespace

void initPopulation(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, auto function) { exports[name] = Napi::Function::New(env, function, name); };
  add("reweight", guarded<reweight>);
  add("logWeightStats", guarded<logWeightStats>);
  add("resample", guarded<resampleNow>);
  add("resampleJob", guarded<resampleJob>);
  add("descend", guarded<descendJob>);
  add("extremes", guarded<extremes>);
}

}  // namespace feynkac::addon
