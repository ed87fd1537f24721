// Particles at the border: argument checks, and jobs on the kernels; lib/smc/native-particles.ts declares them.
#include "kernels/particles.h"

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "addon.h"
#include "engine/resampling.h"
#include "job.h"
#include "kernels/random.h"

namespace feynkac::addon {
namespace {

using Napi::CallbackInfo;
using Napi::Object;
using Napi::Value;

constexpr size_t kAnyLength = static_cast<size_t>(-1);

ParticleKernels& kernels() {
  static const std::unique_ptr<ParticleKernels> instance(makeCpuParticleKernels());
  return *instance;
}

template <class T>
struct Span {
  T* data;
  size_t size;
};

std::invalid_argument wrong(const std::string& name, const std::string& expected) {
  return std::invalid_argument("expected " + expected + " for " + name);
}

template <class T>
constexpr const char* arrayName() {
  if (std::is_same_v<T, float>) return "a Float32Array";
  if (std::is_same_v<T, double>) return "a Float64Array";
  if (std::is_same_v<T, int32_t>) return "an Int32Array";
  return "a Uint8Array";
}

template <class T>
constexpr napi_typedarray_type arrayType() {
  if (std::is_same_v<T, float>) return napi_float32_array;
  if (std::is_same_v<T, double>) return napi_float64_array;
  if (std::is_same_v<T, int32_t>) return napi_int32_array;
  return napi_uint8_array;
}

template <class T>
Span<T> arrayOf(const Value& value, const std::string& name, size_t length = kAnyLength) {
  std::string expected = arrayName<T>();
  if (length != kAnyLength) expected += " of length " + std::to_string(length);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != arrayType<T>())
    throw wrong(name, expected);
  auto array = value.As<Napi::TypedArrayOf<T>>();
  if (length != kAnyLength && array.ElementLength() != length) throw wrong(name, expected);
  return {array.Data(), array.ElementLength()};
}

// Rows of any element type: bytes of one row.
struct RowView {
  char* data;
  size_t bytes;
};

RowView rowsOf(const Value& value, const std::string& name, size_t rows) {
  if (!value.IsTypedArray()) throw wrong(name, "a typed array");
  auto array = value.As<Napi::TypedArray>();
  if (rows == 0 || array.ElementLength() % rows != 0)
    throw wrong(name, "whole rows for " + std::to_string(rows) + " particles");
  char* data = static_cast<char*>(array.ArrayBuffer().Data()) + array.ByteOffset();
  return {data, array.ByteLength() / rows};
}

template <class F>
auto listOf(const Value& value, const std::string& name, const F& element) {
  if (!value.IsArray()) throw wrong(name, "an array");
  auto list = value.As<Napi::Array>();
  std::vector<decltype(element(Value(), std::string()))> out;
  for (uint32_t i = 0; i < list.Length(); ++i)
    out.push_back(element(list.Get(i), name + "[" + std::to_string(i) + "]"));
  return out;
}

double numberOf(const Value& value, const std::string& name) {
  if (!value.IsNumber()) throw wrong(name, "a number");
  return value.As<Napi::Number>().DoubleValue();
}

uint64_t integerOf(const Value& value, const std::string& name, double max = 9007199254740991.0) {
  const double v = numberOf(value, name);
  if (!(v >= 0 && v <= max) || v != std::floor(v)) throw wrong(name, "a non-negative integer");
  return static_cast<uint64_t>(v);
}

uint32_t wordOf(const Value& value, const std::string& name) {
  return static_cast<uint32_t>(integerOf(value, name, 4294967295.0));
}

std::string textOf(const Value& value, const std::string& name) {
  if (!value.IsString()) throw wrong(name, "a string");
  return value.As<Napi::String>().Utf8Value();
}

size_t rowLength(size_t size, size_t rows, const std::string& name) {
  if (rows == 0 || size == 0 || size % rows != 0)
    throw wrong(name, "whole rows for " + std::to_string(rows) + " particles");
  return size / rows;
}

// A C++ exception of an argument check becomes a JS one with its code.
template <Value (*F)(const CallbackInfo&)>
Value guarded(const CallbackInfo& info) {
  try {
    return F(info);
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw currentError(info.Env());
  }
}

Object requestOf(const CallbackInfo& info) {
  if (info.Length() < 1 || !info[0].IsObject()) throw wrong("request", "an object");
  return info[0].As<Object>();
}

Value propose(const CallbackInfo& info) {
  const Object q = requestOf(info);
  const auto logForward = arrayOf<double>(q["logForward"], "logForward");
  const size_t rows = logForward.size;
  const auto logBackward = arrayOf<double>(q["logBackward"], "logBackward", rows);
  const auto alignment = arrayOf<double>(q["alignment"], "alignment", rows);
  const auto squares = arrayOf<double>(q["gradSquares"], "gradSquares", rows);
  const auto x = arrayOf<float>(q["x"], "x");
  const size_t d = rowLength(x.size, rows, "x");
  const auto out = arrayOf<float>(q["out"], "out", x.size), grad = arrayOf<float>(q["grad"], "grad", x.size);
  const auto v = arrayOf<double>(q["v"], "v"), tau = arrayOf<double>(q["tau"], "tau");
  for (const auto& a : {v, tau})
    if (a.size != 1 && a.size != d) throw wrong("v and tau", "1 or " + std::to_string(d) + " variances");
  const NormalKey key{integerOf(q["seed"], "seed"), kPropose, wordOf(q["step"], "step")};
  return startJob(info.Env(), {q}, [=](const Stop&) {
    const Proposal p{v.data, tau.data, v.size == 1 ? 0 : 1, tau.size == 1 ? 0 : 1};
    kernels().propose(out.data, logForward.data, logBackward.data, alignment.data, squares.data, x.data, grad.data, p,
                      key, rows, d);
  });
}

std::vector<const float*> termsOf(const Value& value, const std::string& name, size_t size) {
  return listOf(value, name,
                [=](const Value& v, const std::string& n) -> const float* { return arrayOf<float>(v, n, size).data; });
}

Value combine(const CallbackInfo& info) {
  const Object q = requestOf(info);
  const auto out = arrayOf<float>(q["out"], "out");
  const size_t rows = integerOf(q["rows"], "rows"), d = rowLength(out.size, rows, "out");
  const auto terms = termsOf(q["terms"], "terms", out.size);
  const auto coefficients = arrayOf<double>(q["coefficients"], "coefficients", terms.size());
  NormalKey key{};
  double std = 0;
  if (const Value noise = q["noise"]; noise.IsObject()) {
    const Object n = noise.As<Object>();
    std = numberOf(n["std"], "noise.std");
    key = {integerOf(n["seed"], "noise.seed"), wordOf(n["purpose"], "noise.purpose"), wordOf(n["step"], "noise.step")};
  }
  return startJob(info.Env(), {q}, [=](const Stop&) {
    kernels().combine(out.data, {terms.data(), coefficients.data, static_cast<int>(terms.size()), false}, std, key,
                      rows, d);
  });
}

Value compose(const CallbackInfo& info) {
  const Object q = requestOf(info);
  const auto energy = arrayOf<double>(q["energy"], "energy");
  const size_t rows = energy.size;
  const auto grad = arrayOf<float>(q["grad"], "grad");
  const size_t d = rowLength(grad.size, rows, "grad");
  const auto grads = termsOf(q["grads"], "grads", grad.size);
  const auto energies = listOf(q["energies"], "energies", [=](const Value& v, const std::string& n) -> const double* {
    return arrayOf<double>(v, n, rows).data;
  });
  const auto c = arrayOf<double>(q["coefficients"], "coefficients", grads.size());
  if (energies.size() != grads.size()) throw wrong("energies", "as many as grads");
  const std::string form = textOf(q["form"], "form");
  if (form != "linear" && form != "mixture") throw wrong("form", "'linear' or 'mixture'");
  const Value wanted = q["squares"];
  double* squares = wanted.IsUndefined() ? nullptr : arrayOf<double>(wanted, "squares", rows).data;
  return startJob(info.Env(), {q}, [=](const Stop&) {
    kernels().compose(energy.data, grad.data, squares,
                      {energies.data(), grads.data(), c.data, static_cast<int>(grads.size()), form == "mixture"}, rows,
                      d);
  });
}

Value rowSquares(const CallbackInfo& info) {
  const Object q = requestOf(info);
  const auto out = arrayOf<double>(q["out"], "out");
  const Value list = q["terms"];
  if (!list.IsArray() || list.As<Napi::Array>().Length() == 0)
    throw wrong("terms", "an array of at least one Float32Array");
  const size_t size = arrayOf<float>(list.As<Napi::Array>().Get(0u), "terms[0]").size;
  const size_t rows = out.size, d = rowLength(size, rows, "terms[0]");
  const auto terms = termsOf(list, "terms", size);
  const auto coefficients = arrayOf<double>(q["coefficients"], "coefficients", terms.size());
  return startJob(info.Env(), {q}, [=](const Stop&) {
    kernels().rowSquares(out.data, {terms.data(), coefficients.data, static_cast<int>(terms.size()), false}, rows, d);
  });
}

Value meanSquares(const CallbackInfo& info) {
  const Object q = requestOf(info);
  const auto weights = arrayOf<double>(q["weights"], "weights");
  const size_t rows = weights.size;
  const auto grad = arrayOf<float>(q["grad"], "grad");
  const size_t d = rowLength(grad.size, rows, "grad");
  const auto out = arrayOf<double>(q["out"], "out");
  if (out.size != 1 && out.size != d) throw wrong("out", "a Float64Array of length 1 or " + std::to_string(d));
  return startJob(info.Env(), {q}, [=](const Stop&) {
    if (out.size == d) return kernels().columnSquares(out.data, grad.data, weights.data, rows, d);
    out.data[0] = kernels().meanSquares(grad.data, weights.data, rows, d);
  });
}

struct RowPairs {
  std::vector<RowView> from, to;
};

RowPairs rowPairsOf(const Object& q, size_t fromRows, size_t toRows) {
  const auto rows = [](size_t n) {
    return [n](const Value& v, const std::string& name) { return rowsOf(v, name, n); };
  };
  RowPairs pairs{listOf(q["from"], "from", rows(fromRows)), listOf(q["to"], "to", rows(toRows))};
  if (pairs.from.size() != pairs.to.size()) throw wrong("to", "as many arrays as from");
  for (size_t j = 0; j < pairs.from.size(); ++j)
    if (pairs.from[j].bytes != pairs.to[j].bytes || pairs.from[j].data == pairs.to[j].data)
      throw wrong("to", "other arrays with rows of the same size as from");
  return pairs;
}

Value gather(const CallbackInfo& info) {
  const Object q = requestOf(info);
  const auto ancestors = arrayOf<int32_t>(q["ancestors"], "ancestors");
  const size_t rows = ancestors.size;
  const RowPairs pairs = rowPairsOf(q, rows, rows);
  return startJob(info.Env(), {q}, [=](const Stop&) {
    if (!kernels().areInRange(ancestors.data, rows, rows)) throw wrong("ancestors", "indices of the particles");
    for (size_t j = 0; j < pairs.from.size(); ++j)
      kernels().gather(pairs.to[j].data, pairs.from[j].data, ancestors.data, rows, pairs.to[j].bytes);
  });
}

Value statsObject(Napi::Env env, const LogWeightStats& s) {
  auto out = Object::New(env);
  out["logSum"] = Napi::Number::New(env, s.logSum);
  out["ess"] = Napi::Number::New(env, s.ess);
  out["invalid"] = Napi::Number::New(env, static_cast<double>(s.invalid));
  return out;
}

Value reweight(const CallbackInfo& info) {
  const Object q = requestOf(info);
  const auto lw = arrayOf<double>(q["logWeights"], "logWeights");
  const auto weights = arrayOf<double>(q["weights"], "weights", lw.size);
  const auto terms = listOf(q["terms"], "terms", [=](const Value& v, const std::string& n) -> const double* {
    return arrayOf<double>(v, n, lw.size).data;
  });
  const auto coefficients = arrayOf<double>(q["coefficients"], "coefficients", terms.size());
  const double constant = numberOf(q["constant"], "constant");
  auto stats = std::make_shared<LogWeightStats>();
  return startJob(
      info.Env(), {q},
      [=](const Stop&) {
        *stats = kernels().reweight(lw.data, weights.data, terms.data(), coefficients.data,
                                    static_cast<int>(terms.size()), constant, lw.size);
      },
      [stats](Napi::Env env) { return statsObject(env, *stats); });
}

Value logWeightStats(const CallbackInfo& info) {
  const auto lw = arrayOf<double>(info[0], "logWeights");
  return statsObject(info.Env(), kernels().logWeightStats(lw.data, lw.size));
}

Value resampleNow(const CallbackInfo& info) {
  const auto weights = arrayOf<double>(info[0], "weights");
  const Scheme scheme = schemeOf(textOf(info[1], "scheme").c_str());
  auto out = Napi::Int32Array::New(info.Env(), integerOf(info[2], "n", 2147483647.0));
  if (info[3].IsNull()) {
    kernels().resample(out.Data(), out.ElementLength(), scheme, weights.data, weights.size,
                       {integerOf(info[4], "seed"), 0u});
  } else {
    const auto given = arrayOf<double>(info[3], "uniforms");
    kernels().resample(out.Data(), out.ElementLength(), scheme, weights.data, weights.size,
                       Uniforms(given.data, given.size));
  }
  return out;
}

Value resampleJob(const CallbackInfo& info) {
  const Object q = requestOf(info);
  const auto weights = arrayOf<double>(q["weights"], "weights");
  const auto ancestors = arrayOf<int32_t>(q["ancestors"], "ancestors", weights.size);
  const Scheme scheme = schemeOf(textOf(q["scheme"], "scheme").c_str());
  const Uniforms uniforms(integerOf(q["seed"], "seed"), wordOf(q["step"], "step"));
  auto unique = std::make_shared<size_t>(0);
  return startJob(
      info.Env(), {q},
      [=](const Stop&) {
        kernels().resample(ancestors.data, ancestors.size, scheme, weights.data, weights.size, uniforms);
        *unique = kernels().countDistinct(ancestors.data, ancestors.size, weights.size);
      },
      [unique](Napi::Env env) { return Napi::Number::New(env, static_cast<double>(*unique)); });
}

Value metropolis(const CallbackInfo& info) {
  const Object q = requestOf(info);
  const auto accepted = arrayOf<uint8_t>(q["accepted"], "accepted");
  const size_t rows = accepted.size;
  const auto logRatio = arrayOf<double>(q["logRatio"], "logRatio", rows);
  const RowPairs pairs = rowPairsOf(q, rows, rows);
  const uint64_t seed = integerOf(q["seed"], "seed");
  const uint32_t step = wordOf(q["step"], "step");
  auto count = std::make_shared<size_t>(0);
  return startJob(
      info.Env(), {q},
      [=](const Stop&) {
        *count = kernels().metropolis(accepted.data, logRatio.data, seed, step, rows);
        for (size_t j = 0; j < pairs.from.size(); ++j)
          kernels().copyAccepted(pairs.to[j].data, pairs.from[j].data, accepted.data, rows, pairs.from[j].bytes);
      },
      [count](Napi::Env env) { return Napi::Number::New(env, static_cast<double>(*count)); });
}

GaussianMixture mixtureOf(const Value& value) {
  if (!value.IsObject()) throw wrong("mixture", "an object");
  const Object m = value.As<Object>();
  const auto logWeights = arrayOf<double>(m["logWeights"], "logWeights"), means = arrayOf<double>(m["means"], "means");
  const size_t components = logWeights.size, d = rowLength(means.size, components, "means");
  const std::string form = textOf(m["form"], "form");
  const CovarianceForm f = form == "scalar"     ? CovarianceForm::kScalar
                           : form == "diagonal" ? CovarianceForm::kDiagonal
                                                : CovarianceForm::kFull;
  const size_t each = f == CovarianceForm::kScalar ? 1 : f == CovarianceForm::kDiagonal ? d : d * d;
  const auto covariances = arrayOf<double>(m["covariances"], "covariances", components * each);
  return {components, d, logWeights.data, means.data, covariances.data, f};
}

Value mixtureEnergy(const CallbackInfo& info) {
  const Object q = requestOf(info);
  const GaussianMixture mixture = mixtureOf(q["mixture"]);
  const auto energy = arrayOf<double>(q["energy"], "energy");
  const auto x = arrayOf<float>(q["x"], "x", energy.size * mixture.d);
  const auto grad = arrayOf<float>(q["grad"], "grad", x.size);
  const double sigma = numberOf(q["sigma"], "sigma");
  return startJob(info.Env(), {q}, [=](const Stop&) {
    kernels().mixtureEnergy(energy.data, grad.data, x.data, sigma, mixture, energy.size);
  });
}

Value mixtureSample(const CallbackInfo& info) {
  const auto out = arrayOf<float>(info[0], "out");
  const GaussianMixture mixture = mixtureOf(info[1]);
  if (out.size % mixture.d != 0) throw wrong("out", "whole rows of " + std::to_string(mixture.d));
  kernels().mixtureSample(out.data, mixture, integerOf(info[2], "seed"), out.size / mixture.d);
  return info.Env().Undefined();
}

Value softBox(const CallbackInfo& info) {
  const Object q = requestOf(info);
  const auto energy = arrayOf<double>(q["energy"], "energy");
  const auto x = arrayOf<float>(q["x"], "x");
  const size_t d = rowLength(x.size, energy.size, "x");
  const auto grad = arrayOf<float>(q["grad"], "grad", x.size);
  const auto lower = arrayOf<double>(q["lower"], "lower", d), upper = arrayOf<double>(q["upper"], "upper", d);
  const double t = numberOf(q["t"], "t");
  return startJob(info.Env(), {q}, [=](const Stop&) {
    kernels().softBox(energy.data, grad.data, x.data, lower.data, upper.data, t, energy.size, d);
  });
}

Value normals(const CallbackInfo& info) {
  const auto out = arrayOf<float>(info[0], "out");
  const size_t rows = integerOf(info[1], "rows"), d = rowLength(out.size, rows, "out");
  const NormalKey key{integerOf(info[2], "seed"), wordOf(info[3], "purpose"), wordOf(info[4], "step")};
  kernels().combine(out.data, {nullptr, nullptr, 0, false}, 1, key, rows, d);
  return info.Env().Undefined();
}

Value uniforms(const CallbackInfo& info) {
  const auto out = arrayOf<double>(info[0], "out");
  const size_t rows = integerOf(info[1], "rows"), d = rowLength(out.size, rows, "out");
  const NormalKey key{integerOf(info[2], "seed"), wordOf(info[3], "purpose"), wordOf(info[4], "step")};
  kernels().uniforms(out.data, key, rows, d);
  return info.Env().Undefined();
}

}  // namespace

void initParticles(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, auto function) { exports[name] = Napi::Function::New(env, function, name); };
  add("propose", guarded<propose>);
  add("combine", guarded<combine>);
  add("compose", guarded<compose>);
  add("rowSquares", guarded<rowSquares>);
  add("meanSquares", guarded<meanSquares>);
  add("gather", guarded<gather>);
  add("reweight", guarded<reweight>);
  add("logWeightStats", guarded<logWeightStats>);
  add("resample", guarded<resampleNow>);
  add("resampleJob", guarded<resampleJob>);
  add("metropolis", guarded<metropolis>);
  add("mixtureEnergy", guarded<mixtureEnergy>);
  add("mixtureSample", guarded<mixtureSample>);
  add("softBox", guarded<softBox>);
  add("normals", guarded<normals>);
  add("uniforms", guarded<uniforms>);
}

}  // namespace feynkac::addon
