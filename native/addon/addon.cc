#include "addon.h"

#include "kernels/cpu/runtime/threads.h"
#include "kernels/kernels.h"

namespace feynkac::addon {
namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports["cpu"] = Napi::Function::New(env, [](const Napi::CallbackInfo& info) -> Napi::Value {
    auto out = Napi::Object::New(info.Env());
    out["isa"] = Napi::String::New(info.Env(), cpuIsa());
    out["threads"] = Napi::Number::New(info.Env(), threadCount());
    return out;
  });
  exports["setThreads"] = Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
    const int n = info[0].IsNumber() ? info[0].As<Napi::Number>().Int32Value() : 0;
    if (n < 1 || n > 1024) throw Napi::RangeError::New(info.Env(), "expected 1 to 1024 threads");
    setThreadCount(n);
  });
  initNetwork(env, exports);
  initParticles(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(NODE_GYP_MODULE_NAME, init)

}  // namespace feynkac::addon
