#include "addon.h"

#include <memory>

#include "arguments.h"
#include "job.h"
#include "kernels/common/kernels.h"
#include "kernels/cpu/runtime/host_memory.h"
#include "kernels/cpu/runtime/threads.h"
#include "kernels/cuda/cuda.h"

namespace feynkac::addon {
namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports["cpu"] = Napi::Function::New(env, [](const Napi::CallbackInfo& info) -> Napi::Value {
    try {
      auto out = Napi::Object::New(info.Env());
      out["isa"] = Napi::String::New(info.Env(), cpuIsa());
      out["threads"] = Napi::Number::New(info.Env(), threadCount());
      return out;
    } catch (const std::exception&) {
      throw currentError(info.Env());
    }
  });
  exports["cuda"] = Napi::Function::New(env, [](const Napi::CallbackInfo& info) -> Napi::Value {
    const CudaDevices found = cudaDevices();
    auto out = Napi::Object::New(info.Env());
    auto list = Napi::Array::New(info.Env(), found.list.size());
    for (size_t i = 0; i < found.list.size(); ++i) {
      const CudaDevice& d = found.list[i];
      auto device = Napi::Object::New(info.Env());
      device["name"] = Napi::String::New(info.Env(), d.name);
      device["capability"] = Napi::String::New(info.Env(), std::to_string(d.major) + "." + std::to_string(d.minor));
      device["memory"] = Napi::Number::New(info.Env(), static_cast<double>(d.memory));
      list[i] = device;
    }
    out["devices"] = list;
    out["reason"] = Napi::String::New(info.Env(), found.reason);
    out["driver"] = Napi::Number::New(info.Env(), found.driver);
    out["runtime"] = Napi::Number::New(info.Env(), found.runtime);
#ifdef FEYNKAC_EMULATED
    out["emulated"] = Napi::Boolean::New(info.Env(), true);
#else
    out["emulated"] = Napi::Boolean::New(info.Env(), false);
#endif
    return out;
  });
  exports["cudaFreeMemory"] = Napi::Function::New(env, [](const Napi::CallbackInfo& info) -> Napi::Value {
    try {
      const int device = info[0].IsNumber() ? info[0].As<Napi::Number>().Int32Value() : -1;
      return Napi::Number::New(info.Env(), static_cast<double>(cudaFreeMemory(device)));
    } catch (...) {
      throw currentError(info.Env());
    }
  });
  exports["checkCuda"] = Napi::Function::New(env, [](const Napi::CallbackInfo& info) -> Napi::Value {
    const int device = info[0].IsNumber() ? info[0].As<Napi::Number>().Int32Value() : -1;
    const auto check = std::make_shared<CudaCheck>();
    return startJob(
        info.Env(), {}, [=](const Stop&) { *check = checkCudaDevice(device); },
        [check](Napi::Env e) -> Napi::Value {
          auto out = Napi::Object::New(e);
          out["path"] = Napi::String::New(e, check->path);
          out["failure"] = Napi::String::New(e, check->failure);
          return out;
        });
  });
  exports["setThreads"] = Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
    const int n = info[0].IsNumber() ? info[0].As<Napi::Number>().Int32Value() : 0;
    if (n < 1 || n > 1024) throw Napi::RangeError::New(info.Env(), "expected 1 to 1024 threads");
    setThreadCount(n);
  });
  exports["detach"] = Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
    if (info[0].IsTypedArray()) info[0].As<Napi::TypedArray>().ArrayBuffer().Detach();
  });
  exports["discard"] = Napi::Function::New(env, [](const Napi::CallbackInfo& info) -> Napi::Value {
    if (!info[0].IsTypedArray()) throw argumentError(info.Env(), "expected an array to discard");
    Napi::ArrayBuffer buffer = info[0].As<Napi::TypedArray>().ArrayBuffer();
    void* const memory = buffer.Data();
    const size_t bytes = buffer.ByteLength();
    return startJob(info.Env(), {info[0]}, [=](const Stop&) { discardHost(memory, bytes); });
  });
  initNetwork(env, exports);
  initAutoencoder(env, exports);
  initClassifier(env, exports);
  initDeviceArrays(env, exports);
  initParticles(env, exports);
  initParticleEnergies(env, exports);
  initPopulation(env, exports);
  initRanks(env, exports);
  initFileLock(env, exports);
  keepLoaded();
  return exports;
}

}  // namespace

NODE_API_MODULE(NODE_GYP_MODULE_NAME, init)

}  // namespace feynkac::addon
