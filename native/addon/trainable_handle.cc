#include "trainable_handle.h"

#include <cmath>

#include "kernels/common/errors.h"
#include "kernels/cuda/cuda.h"
#include "ranks.h"

namespace feynkac::addon {

Trainable::MakeKernels kernelsOf(const std::string& device, Precision precision) {
  if (device == "cpu") return [] { return std::unique_ptr<Kernels>(makeCpuKernels()); };
  const std::string number = device.rfind("cuda:", 0) == 0 ? device.substr(5) : "";
  if (number.empty() || number.size() > 3 || number.find_first_not_of("0123456789") != std::string::npos)
    throw DeviceError("there is no device '" + device + "': use 'auto', 'cpu' or 'cuda:0'");
  const int index = std::stoi(number);
  requireCudaDevice(index);
  return [=] { return std::unique_ptr<Kernels>(makeCudaKernels(index, precision)); };
}

Precision precisionOf(const Napi::Value& value) {
  return choice<Precision>(value, "precision",
                           {{"fp32", Precision::kFp32}, {"tf32", Precision::kTf32}, {"bf16", Precision::kBf16}});
}

Slot slotOf(const Napi::Value& value) {
  return choice<Slot>(
      value, "slot",
      {{"params", Slot::kParams}, {"ema", Slot::kEma}, {"grad", Slot::kGrad}, {"m", Slot::kM}, {"v", Slot::kV}});
}

Napi::Value parameterList(Napi::Env env, const Parameters& parameters) {
  const auto& list = parameters.list();
  auto out = Napi::Array::New(env, list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    auto item = Napi::Object::New(env);
    auto shape = Napi::Array::New(env, list[i].shape.size());
    for (size_t k = 0; k < list[i].shape.size(); ++k) shape[k] = Napi::Number::New(env, list[i].shape[k]);
    item["name"] = Napi::String::New(env, list[i].name);
    item["shape"] = shape;
    item["offset"] = Napi::Number::New(env, double(list[i].torchOffset));
    item["size"] = Napi::Number::New(env, double(list[i].size));
    item["buffer"] = Napi::Boolean::New(env, list[i].buffer);
    out[i] = item;
  }
  return out;
}

Napi::Value convolutionList(Napi::Env env, const std::vector<Trainable::Convolution>& list) {
  auto out = Napi::Array::New(env, list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const Trainable::Convolution& c = list[i];
    auto item = Napi::Object::New(env);
    item["kernel"] = Napi::Number::New(env, c.shape.kernel);
    item["in"] = Napi::Number::New(env, c.shape.in);
    item["out"] = Napi::Number::New(env, c.shape.out);
    item["height"] = Napi::Number::New(env, c.shape.height);
    item["width"] = Napi::Number::New(env, c.shape.width);
    item["forward"] = Napi::String::New(env, c.algorithms.forward);
    item["dataGrad"] = Napi::String::New(env, c.algorithms.dataGrad);
    item["weightGrad"] = Napi::String::New(env, c.algorithms.weightGrad);
    item["packedBytes"] = Napi::Number::New(env, double(c.packedBytes));
    out[i] = item;
  }
  return out;
}

Napi::Value trainResult(Napi::Env env, const TrainResult& result) {
  auto out = Napi::Object::New(env);
  out["loss"] = Napi::Number::New(env, result.loss);
  out["gradNorm"] = Napi::Number::New(env, result.gradNorm);
  return out;
}

OptimizerStep optimizerOf(const Napi::Object& o, uint32_t step) {
  return {{number(o, "lr"), number(o, "beta1"), number(o, "beta2"), number(o, "eps"), step, number(o, "clip"),
           number(o, "emaDecay")},
          number(o, "muon")};
}

void readStep(TrainingStep& step, const Napi::Object& o, int batch) {
  step.batch = batch;
  step.microBatch = static_cast<int>(integer(o, "microBatch", 1, kMaxBatch));
  step.seed = static_cast<uint64_t>(integer(o, "seed", 0, kMaxSeed));
  step.step = static_cast<uint32_t>(integer(o, "step", 1, 0xffffffff));
  step.optimizer = optimizerOf(o, step.step);
  step.losses = doubles(o.Get("losses"), batch, "losses");
  step.share = shareOf(o);
}

int rowsOf(const Napi::Value& value, size_t size, const char* name) {
  const size_t length = value.IsTypedArray() ? value.As<Napi::TypedArray>().ElementLength() : 0;
  const size_t rows = length / size;
  if (rows < 1 || rows > kMaxBatch || length % size != 0)
    throw argumentError(value.Env(), std::string("expected a Float32Array whose length is a multiple of ") +
                                         std::to_string(size) + " for " + name);
  return static_cast<int>(rows);
}

int batchOf(const Napi::Value& value) {
  const int batch = value.IsNumber() ? value.As<Napi::Number>().Int32Value() : 0;
  if (batch < 1 || batch > kMaxBatch) throw argumentError(value.Env(), "expected a batch of 1 to 16777216");
  return batch;
}

double noiseOf(const Napi::Object& o) {
  const double noise = number(o, "noise");
  if (!(noise >= 0) || !std::isfinite(noise)) throw argumentError(o.Env(), "expected a finite noise of at least 0");
  return noise;
}

std::vector<Napi::Value> valuesOf(const Napi::Object& o) {
  std::vector<Napi::Value> values;
  const Napi::Array names = o.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) values.push_back(o.Get(names.Get(i)));
  return values;
}

}  // namespace feynkac::addon
