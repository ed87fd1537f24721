// Particles at the border: argument checks, and jobs on the kernels; lib/native/particle-ops.ts declares them.
#include "kernels/common/particles.h"

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "addon.h"
#include "kernels/common/random.h"
#include "kernels/common/resampling.h"
#include "kernels/cpu/runtime/covariances.h"
#include "kernels/cpu/runtime/extremes.h"
#include "kernels/cpu/runtime/genealogy.h"
#include "kernels/cpu/runtime/host_particles.h"
#include "kernels/cpu/runtime/posterior_means.h"
#include "request.h"

namespace feynkac::addon {
namespace {

using Napi::CallbackInfo;
using Napi::Object;
using Napi::Value;

// Number of the particle in the first row.
uint32_t firstOf(const Value& value) { return value.IsUndefined() ? 0 : wordOf(value, "first"); }

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
  return q.start([=](ParticleKernels& kernels, const Stop&) {
    const Proposal p{v.data, tau.data, v.size == 1 ? 0 : 1, tau.size == 1 ? 0 : 1};
    kernels.propose(out.data, logForward.data, logBackward.data, alignment.data, squares.data, x.data, grad.data, p,
                    key, rows, d);
  });
}

template <class T>
std::vector<const T*> termsOf(Request& q, const char* name, size_t size) {
  return listOf(q[name], name,
                [&](const Value& v, const std::string& n) -> const T* { return q.arrayAt<T>(v, n, size).data; });
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
  return q.start([=](ParticleKernels& kernels, const Stop&) {
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

Value compose(const CallbackInfo& info) {
  Request q(info);
  const auto energy = q.array<double>("energy");
  const size_t rows = energy.size;
  const auto grad = q.array<float>("grad");
  const size_t d = rowLength(grad.size, rows, "grad");
  const auto grads = termsOf<float>(q, "grads", grad.size);
  const auto energies = termsOf<double>(q, "energies", rows);
  const auto c = hostArray<double>(q["coefficients"], "coefficients", grads.size());
  if (energies.size() != grads.size()) throw wrong("energies", "as many as grads");
  const std::string form = textOf(q["form"], "form");
  if (form != "linear" && form != "mixture") throw wrong("form", "'linear' or 'mixture'");
  const Value wanted = q["squares"];
  double* squares = wanted.IsUndefined() ? nullptr : q.array<double>("squares", rows).data;
  return q.start([=](ParticleKernels& kernels, const Stop&) {
    kernels.compose(energy.data, grad.data, squares,
                    {energies.data(), grads.data(), c.data, static_cast<int>(grads.size()), form == "mixture"}, rows,
                    d);
  });
}

Value rowSquares(const CallbackInfo& info) {
  Request q(info);
  const auto out = q.array<double>("out");
  const Value list = q["terms"];
  if (!list.IsArray() || list.As<Napi::Array>().Length() == 0)
    throw wrong("terms", "an array of at least one Float32Array");
  const size_t size = q.arrayAt<float>(list.As<Napi::Array>().Get(0u), "terms[0]").size;
  const size_t rows = out.size, d = rowLength(size, rows, "terms[0]");
  const auto terms = termsOf<float>(q, "terms", size);
  const auto coefficients = hostArray<double>(q["coefficients"], "coefficients", terms.size());
  return q.start([=](ParticleKernels& kernels, const Stop&) {
    kernels.rowSquares(out.data, {terms.data(), coefficients.data, static_cast<int>(terms.size()), false}, rows, d);
  });
}

Value rowProducts(const CallbackInfo& info) {
  Request q(info);
  const auto out = q.array<double>("out");
  const auto a = q.array<float>("a");
  const size_t rows = out.size, d = rowLength(a.size, rows, "a");
  const auto b = q.array<float>("b", a.size), c = q.array<float>("c", a.size);
  const auto v = hostArray<double>(q["v"], "v");
  if (v.size != 1 && v.size != d) throw wrong("v", "1 or " + std::to_string(d) + " factors");
  return q.start([=](ParticleKernels& kernels, const Stop&) {
    kernels.rowProducts(out.data, a.data, b.data, v.data, v.size == 1 ? 0 : 1, c.data, rows, d);
  });
}

// The kernels' columnSquares, with `out` on the host.
void columnSquares(ParticleKernels& kernels, const Span<double>& out, const float* grad, const double* weights,
                   size_t rows, bool goesOn) {
  const size_t bytes = out.size * sizeof(double);
  const std::unique_ptr<void, std::function<void(void*)>> there(kernels.allocate(bytes),
                                                                [&](void* p) { kernels.release(p); });
  if (goesOn) kernels.upload(there.get(), out.data, bytes);
  kernels.columnSquares(static_cast<double*>(there.get()), grad, weights, rows, out.size, goesOn);
  kernels.download(out.data, there.get(), bytes);
}

Value meanSquares(const CallbackInfo& info) {
  Request q(info);
  const auto weights = q.array<double>("weights");
  const size_t rows = weights.size;
  const auto grad = q.array<float>("grad");
  const size_t d = rowLength(grad.size, rows, "grad");
  const auto out = hostArray<double>(q["out"], "out");
  if (out.size != 1 && out.size != d) throw wrong("out", "a Float64Array of length 1 or " + std::to_string(d));
  const bool goesOn = q["goesOn"].ToBoolean();
  if (goesOn && out.size != d) throw wrong("out", "a Float64Array of length " + std::to_string(d));
  return q.start([=](ParticleKernels& kernels, const Stop&) {
    if (out.size == d) return columnSquares(kernels, out, grad.data, weights.data, rows, goesOn);
    out.data[0] = kernels.meanSquares(grad.data, weights.data, rows, d);
  });
}

Value weightedSumOf(const CallbackInfo& info) {
  const auto values = hostArray<double>(info[0], "values"),
             weights = hostArray<double>(info[1], "weights", values.size);
  return Napi::Number::New(info.Env(), weightedSum(values.data, weights.data, values.size));
}

struct RowPairs {
  std::vector<RowView> from, to;
};

RowPairs rowPairsOf(Request& q, size_t n) {
  const auto rows = [&](const Value& v, const std::string& name) { return q.rowsAt(v, name, n); };
  RowPairs pairs{listOf(q["from"], "from", rows), listOf(q["to"], "to", rows)};
  if (pairs.from.size() != pairs.to.size()) throw wrong("to", "as many arrays as from");
  for (size_t j = 0; j < pairs.from.size(); ++j)
    if (pairs.from[j].bytes != pairs.to[j].bytes || pairs.from[j].data == pairs.to[j].data)
      throw wrong("to", "other arrays with rows of the same size as from");
  return pairs;
}

Value gather(const CallbackInfo& info) {
  Request q(info);
  const auto ancestors = q.array<int32_t>("ancestors");
  const size_t rows = ancestors.size;
  const RowPairs pairs = rowPairsOf(q, rows);
  return q.start([=](ParticleKernels& kernels, const Stop&) {
    if (!kernels.areInRange(ancestors.data, rows, rows)) throw wrong("ancestors", "indices of the particles");
    for (size_t j = 0; j < pairs.from.size(); ++j)
      kernels.gather(pairs.to[j].data, pairs.from[j].data, ancestors.data, rows, pairs.to[j].bytes);
  });
}

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
  return q.start(
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
  return q.start(
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
  return q.start([=](ParticleKernels&, const Stop&) { descent->run(ancestors.data, weights.data, n); },
                 [descent](Napi::Env env) { return descent->object(env); });
}

Value sumTerms(const CallbackInfo& info) {
  Request q(info);
  const auto out = q.array<double>("out");
  const auto terms = termsOf<double>(q, "terms", out.size);
  const auto coefficients = hostArray<double>(q["coefficients"], "coefficients", terms.size());
  const double constant = numberOf(q["constant"], "constant");
  return q.start([=](ParticleKernels& kernels, const Stop&) {
    kernels.sumTerms(out.data, terms.data(), coefficients.data, static_cast<int>(terms.size()), constant, out.size);
  });
}

Value covariances(const CallbackInfo& info) {
  Request q(info);
  const auto weights = hostArray<double>(q["weights"], "weights");
  const auto columns = listOf(q["columns"], "columns", [&](const Value& v, const std::string& name) -> const double* {
    return hostArray<double>(v, name, weights.size).data;
  });
  const auto out = hostArray<double>(q["out"], "out", columns.size() * columns.size());
  auto effective = std::make_shared<double>(0);
  return q.start(
      [=](ParticleKernels&, const Stop&) {
        *effective = feynkac::covariances(out.data, weights.data, columns.data(), columns.size(), weights.size);
      },
      [effective](Napi::Env env) { return Napi::Number::New(env, *effective); });
}

Value posteriorMeans(const CallbackInfo& info) {
  Request q(info);
  const auto sigma = hostArray<double>(q["sigma"], "sigma");
  const size_t rows = sigma.size;
  const auto inner = hostArray<double>(q["inner"], "inner", rows);
  const auto targets = hostArray<float>(q["targets"], "targets");
  const size_t d = rowLength(targets.size, rows, "targets");
  const auto states = hostArray<float>(q["states"], "states", targets.size);
  const auto references = hostArray<float>(q["references"], "references");
  const size_t count = references.size / d;
  if (references.size != count * d) throw wrong("references", "whole rows of " + std::to_string(d));
  const auto matches = hostArray<uint8_t>(q["matches"], "matches", rows * count);
  return q.start([=](ParticleKernels&, const Stop&) {
    feynkac::posteriorMeans(targets.data, states.data, sigma.data, inner.data, references.data, matches.data, rows,
                            count, d);
  });
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

Value metropolis(const CallbackInfo& info) {
  Request q(info);
  const auto accepted = q.array<uint8_t>("accepted");
  const size_t rows = accepted.size;
  const auto logRatio = q.array<double>("logRatio", rows);
  const RowPairs pairs = rowPairsOf(q, rows);
  const NormalKey key{integerOf(q["seed"], "seed"), kAccept, wordOf(q["step"], "step"), firstOf(q["first"])};
  auto count = std::make_shared<size_t>(0);
  return q.start(
      [=](ParticleKernels& kernels, const Stop&) {
        *count = kernels.metropolis(accepted.data, logRatio.data, key, rows);
        for (size_t j = 0; j < pairs.from.size(); ++j)
          kernels.copyAccepted(pairs.to[j].data, pairs.from[j].data, accepted.data, rows, pairs.from[j].bytes);
      },
      [count](Napi::Env env) { return Napi::Number::New(env, static_cast<double>(*count)); });
}

GaussianMixture mixtureOf(const Value& value) {
  if (!value.IsObject()) throw wrong("mixture", "an object");
  const Object m = value.As<Object>();
  const auto logWeights = hostArray<double>(m["logWeights"], "logWeights"),
             means = hostArray<double>(m["means"], "means");
  const size_t components = logWeights.size, d = rowLength(means.size, components, "means");
  const std::string form = textOf(m["form"], "form");
  const CovarianceForm f = form == "scalar"     ? CovarianceForm::kScalar
                           : form == "diagonal" ? CovarianceForm::kDiagonal
                                                : CovarianceForm::kFull;
  const size_t each = f == CovarianceForm::kScalar ? 1 : f == CovarianceForm::kDiagonal ? d : d * d;
  const auto covariances = hostArray<double>(m["covariances"], "covariances", components * each);
  return {components, d, logWeights.data, means.data, covariances.data, f};
}

Value mixtureEnergy(const CallbackInfo& info) {
  Request q(info);
  const GaussianMixture mixture = mixtureOf(q["mixture"]);
  const auto energy = q.array<double>("energy");
  const auto x = q.array<float>("x", energy.size * mixture.d);
  const auto grad = q.array<float>("grad", x.size);
  const double sigma = numberOf(q["sigma"], "sigma");
  return q.start([=](ParticleKernels& kernels, const Stop&) {
    kernels.mixtureEnergy(energy.data, grad.data, x.data, sigma, mixture, energy.size);
  });
}

Value mixtureSample(const CallbackInfo& info) {
  const auto out = hostArray<float>(info[0], "out");
  const GaussianMixture mixture = mixtureOf(info[1]);
  if (out.size % mixture.d != 0) throw wrong("out", "whole rows of " + std::to_string(mixture.d));
  hostKernels().mixtureSample(out.data, mixture, integerOf(info[2], "seed"), out.size / mixture.d);
  return info.Env().Undefined();
}

Value softBox(const CallbackInfo& info) {
  Request q(info);
  const auto energy = q.array<double>("energy");
  const auto x = q.array<float>("x");
  const size_t d = rowLength(x.size, energy.size, "x");
  const auto grad = q.array<float>("grad", x.size);
  const auto lower = hostArray<double>(q["lower"], "lower", d), upper = hostArray<double>(q["upper"], "upper", d);
  const double t = numberOf(q["t"], "t");
  return q.start([=](ParticleKernels& kernels, const Stop&) {
    kernels.softBox(energy.data, grad.data, x.data, lower.data, upper.data, t, energy.size, d);
  });
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
  add("compose", guarded<compose>);
  add("rowSquares", guarded<rowSquares>);
  add("rowProducts", guarded<rowProducts>);
  add("meanSquares", guarded<meanSquares>);
  add("weightedSum", guarded<weightedSumOf>);
  add("gather", guarded<gather>);
  add("sumTerms", guarded<sumTerms>);
  add("covariances", guarded<covariances>);
  add("extremes", guarded<extremes>);
  add("posteriorMeans", guarded<posteriorMeans>);
  add("reweight", guarded<reweight>);
  add("logWeightStats", guarded<logWeightStats>);
  add("resample", guarded<resampleNow>);
  add("resampleJob", guarded<resampleJob>);
  add("descend", guarded<descendJob>);
  add("metropolis", guarded<metropolis>);
  add("mixtureEnergy", guarded<mixtureEnergy>);
  add("mixtureSample", guarded<mixtureSample>);
  add("softBox", guarded<softBox>);
  add("normals", guarded<normals>);
  add("uniforms", guarded<uniforms>);
}

}  // namespace feynkac::addon
