#include "trainable_handle.h"

#include "engine/errors.h"
#include "kernels/cuda/cuda.h"

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

Napi::Value trainResult(Napi::Env env, const TrainResult& result) {
  auto out = Napi::Object::New(env);
  out["loss"] = Napi::Number::New(env, result.loss);
  out["gradNorm"] = Napi::Number::New(env, result.gradNorm);
  return out;
}

AdamStep adamOf(const Napi::Object& o, uint32_t step) {
  return {number(o, "lr"),   number(o, "beta1"),   number(o, "beta2"), number(o, "eps"), step,
          number(o, "clip"), number(o, "emaDecay")};
}

std::vector<Napi::Value> valuesOf(const Napi::Object& o) {
  std::vector<Napi::Value> values;
  const Napi::Array names = o.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) values.push_back(o.Get(names.Get(i)));
  return values;
}

}  // namespace feynkac::addon
