// Energies of particles at the border: sums of them and over their gradients, exact mixtures, boxes. As particles.cc.
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "addon.h"
#include "kernels/common/particles.h"
#include "kernels/cpu/runtime/covariances.h"
#include "kernels/cpu/runtime/host_particles.h"
#include "kernels/cpu/runtime/posterior_means.h"
#include "particle_request.h"

namespace feynkac::addon {
namespace {

using Napi::CallbackInfo;
using Napi::Object;
using Napi::Value;

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
  return q.startOrDo(grad.size * grads.size(), [=](ParticleKernels& kernels, const Stop&) {
    kernels.compose(energy.data, grad.data, squares,
                    {energies.data(), grads.data(), c.data, static_cast<int>(grads.size()), form == "mixture"}, rows,
                    d);
  });
}

Value sumTerms(const CallbackInfo& info) {
  Request q(info);
  const auto out = q.array<double>("out");
  const auto terms = termsOf<double>(q, "terms", out.size);
  const auto coefficients = hostArray<double>(q["coefficients"], "coefficients", terms.size());
  const double constant = numberOf(q["constant"], "constant");
  return q.startOrDo(out.size * (terms.size() + 1), [=](ParticleKernels& kernels, const Stop&) {
    kernels.sumTerms(out.data, terms.data(), coefficients.data, static_cast<int>(terms.size()), constant, out.size);
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
  return q.startOrDo(size * terms.size(), [=](ParticleKernels& kernels, const Stop&) {
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
  return q.startOrDo(a.size, [=](ParticleKernels& kernels, const Stop&) {
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
  return q.startOrDo(grad.size, [=](ParticleKernels& kernels, const Stop&) {
    if (out.size == d) return columnSquares(kernels, out, grad.data, weights.data, rows, goesOn);
    out.data[0] = kernels.meanSquares(grad.data, weights.data, rows, d);
  });
}

Value weightedSumOf(const CallbackInfo& info) {
  const auto values = hostArray<double>(info[0], "values"),
             weights = hostArray<double>(info[1], "weights", values.size);
  return Napi::Number::New(info.Env(), weightedSum(values.data, weights.data, values.size));
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
  const size_t d = mixture.d, each = mixture.form == CovarianceForm::kFull ? d * d : d;
  return q.startOrDo(mixture.components * (energy.size + d) * each, [=](ParticleKernels& kernels, const Stop&) {
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
  return q.startOrDo(4 * x.size, [=](ParticleKernels& kernels, const Stop&) {
    kernels.softBox(energy.data, grad.data, x.data, lower.data, upper.data, t, energy.size, d);
  });
}

}  // namespace

void initParticleEnergies(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, auto function) { exports[name] = Napi::Function::New(env, function, name); };
  add("compose", guarded<compose>);
  add("sumTerms", guarded<sumTerms>);
  add("rowSquares", guarded<rowSquares>);
  add("rowProducts", guarded<rowProducts>);
  add("meanSquares", guarded<meanSquares>);
  add("weightedSum", guarded<weightedSumOf>);
  add("covariances", guarded<covariances>);
  add("posteriorMeans", guarded<posteriorMeans>);
  add("mixtureEnergy", guarded<mixtureEnergy>);
  add("mixtureSample", guarded<mixtureSample>);
  add("softBox", guarded<softBox>);
}

}  // namespace feynkac::addon
