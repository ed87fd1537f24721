// What the addon's classes of networks share: weights, memory, jobs (lib/native/addon.ts).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
#include "engine/trainable.h"
#include "job.h"
#include "job_threads.h"
#include "kernels/common/kernels.h"

namespace feynkac::addon {

inline constexpr int kMaxBatch = 1 << 24;
inline constexpr int64_t kMaxSeed = int64_t{1} << 53;

template <class T>
T choice(const Napi::Value& value, const char* name, const std::map<std::string, T>& choices) {
  const std::string given = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  const auto found = choices.find(given);
  if (found != choices.end()) return found->second;
  std::string list;
  for (const auto& entry : choices) list += (list.empty() ? "'" : ", '") + entry.first + "'";
  throw argumentError(value.Env(), std::string("expected one of ") + list + " for " + name);
}

// The backend of a device: 'cpu', or 'cuda:N'. Throws DeviceError where there is no such device.
Trainable::MakeKernels kernelsOf(const std::string& device, Precision precision);
Precision precisionOf(const Napi::Value& value);
Slot slotOf(const Napi::Value& value);
Napi::Value parameterList(Napi::Env env, const Parameters& parameters);
Napi::Value convolutionList(Napi::Env env, const std::vector<Trainable::Convolution>& list);
Napi::Value trainResult(Napi::Env env, const TrainResult& result);
// The optimizer's settings of a training request; `step` is its number.
OptimizerStep optimizerOf(const Napi::Object& request, uint32_t step);
// What the training requests of networks of images share, for a batch of `batch`.
void readStep(TrainingStep& step, const Napi::Object& request, int batch);
// The samples of an array of whole ones.
int rowsOf(const Napi::Value& value, size_t size, const char* name);
// A batch given as a number.
int batchOf(const Napi::Value& value);
// A standard deviation of noise.
double noiseOf(const Napi::Object& request);
// Every value of a request, so that none is collected while the job runs.
std::vector<Napi::Value> valuesOf(const Napi::Object& request);

// Self derives from this; its constructor calls open.
template <class Self, class Net>
class TrainableHandle : public Napi::ObjectWrap<Self> {
 public:
  using Napi::ObjectWrap<Self>::ObjectWrap;

  std::shared_ptr<Net> network() const {
    if (!network_) throw argumentError(this->Env(), "this network was disposed of: load it again");
    return network_;
  }

 protected:
  using Method = Napi::Value (TrainableHandle::*)(const Napi::CallbackInfo&);

  static std::vector<Napi::ClassPropertyDescriptor<Self>> sharedMethods() {
    const auto method = [](const char* name, Method callback) {
      return Self::InstanceMethod(name, static_cast<Napi::Value (Self::*)(const Napi::CallbackInfo&)>(callback));
    };
    return {method("device", &TrainableHandle::Device),
            method("parameters", &TrainableHandle::ListParameters),
            method("parameterCount", &TrainableHandle::ParameterCount),
            method("bytesHeld", &TrainableHandle::BytesHeld),
            method("write", &TrainableHandle::Write),
            method("read", &TrainableHandle::Read),
            method("initialise", &TrainableHandle::Initialise),
            method("convolutions", &TrainableHandle::Convolutions),
            method("dispose", &TrainableHandle::Dispose)};
  }

  // make: the network from what makes its kernels.
  template <class Make>
  void open(const Napi::CallbackInfo& info, const Napi::Value& device, const Napi::Value& precision, const Make& make) {
    try {
      const Precision chosen = precisionOf(precision);
      device_ = device.IsString() ? device.As<Napi::String>().Utf8Value() : "";
      network_ = make(kernelsOf(device_, chosen));
    } catch (const Napi::Error&) {
      throw;
    } catch (...) {
      throw currentError(info.Env());
    }
  }

  // A job of this network; after it, V8 hears how much memory the network holds, so that it collects what nobody disposes of.
  Napi::Value start(const Napi::CallbackInfo& info, std::vector<Napi::Value> keepAlive,
                    std::function<void(const Stop&)> work,
                    const std::function<Napi::Value(Napi::Env)>& result = nullptr) {
    keepAlive.push_back(info.This());
    return startJob(info.Env(), keepAlive, std::move(work), reported(result));
  }
  std::function<Napi::Value(Napi::Env)> reported(const std::function<Napi::Value(Napi::Env)>& result = nullptr) {
    return [this, result](Napi::Env env) {
      report(env);
      return result ? result(env) : env.Undefined();
    };
  }

 private:
  Napi::Value Device(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), device_); }

  Napi::Value ListParameters(const Napi::CallbackInfo& info) {
    return parameterList(info.Env(), network()->parameters());
  }

  Napi::Value ParameterCount(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), double(network()->parameters().torchSize()));
  }

  Napi::Value BytesHeld(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), double(network()->bytesHeld()));
  }

  Napi::Value Write(const Napi::CallbackInfo& info) {
    const auto n = network();
    const Slot slot = slotOf(info[0]);
    const float* values = floats(info[1], n->parameters().torchSize(), "values");
    return start(info, {info[1]}, [=](const Stop&) { n->write(slot, values); });
  }

  Napi::Value Read(const Napi::CallbackInfo& info) {
    const auto n = network();
    const Slot slot = slotOf(info[0]);
    float* out = floats(info[1], n->parameters().torchSize(), "out");
    return start(info, {info[1]}, [=](const Stop&) { n->read(slot, out); });
  }

  Napi::Value Initialise(const Napi::CallbackInfo& info) {
    const auto n = network();
    if (!info[0].IsNumber()) throw argumentError(info.Env(), "expected a number for seed");
    const auto seed = static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
    return start(info, {}, [=](const Stop&) { n->initialise(seed); });
  }

  Napi::Value Convolutions(const Napi::CallbackInfo& info) {
    const auto n = network();
    const int batch = batchOf(info[0]);
    const auto list = std::make_shared<std::vector<Trainable::Convolution>>();
    return start(
        info, {}, [=](const Stop&) { *list = n->convolutions(batch); },
        [list](Napi::Env env) { return convolutionList(env, *list); });
  }

  void report(Napi::Env env) {
    const auto held = network_ ? static_cast<int64_t>(network_->bytesHeld()) : 0;
    if (held != reported_) Napi::MemoryManagement::AdjustExternalMemory(env, held - reported_);
    reported_ = held;
  }

  Napi::Value Dispose(const Napi::CallbackInfo& info) {
    release();
    report(info.Env());
    return info.Env().Undefined();
  }

  // On another thread: to free a network of 100 MB takes ten milliseconds.
  void release() {
    std::shared_ptr<Net> last = std::move(network_);
    if (!last || device_ != "cpu" || last->bytesHeld() < kLarge) return;
    try {
      runOnThread([last = std::move(last)] {});  // moved: the thread must be the last to hold it
    } catch (const std::exception&) {            // freed here
    }
  }

  void Finalize(Napi::Env env) override {
    release();
    report(env);
  }

  static constexpr size_t kLarge = size_t{1} << 22;

  std::string device_;
  std::shared_ptr<Net> network_;
  int64_t reported_ = 0;
};

// Puts `name` into the exports: a function that makes an object of the class from its arguments.
template <class Handle>
void exportFactory(Napi::Env env, Napi::Object exports, const char* name) {
  auto* reference = new Napi::FunctionReference(Napi::Persistent(Handle::define(env)));
  env.AddCleanupHook([reference] { delete reference; });
  exports[name] = Napi::Function::New(env, [reference](const Napi::CallbackInfo& info) -> Napi::Value {
    std::vector<napi_value> arguments;
    for (size_t i = 0; i < info.Length(); ++i) arguments.push_back(info[i]);
    return reference->New(arguments);
  });
}

}  // namespace feynkac::addon
