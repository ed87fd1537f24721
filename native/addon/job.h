// Long work on a thread of its own (job_threads.h): not on libuv's pool, where it would starve fs, dns and crypto, and where
// node would wait for it on exit.
#pragma once

#include <napi.h>

#include <functional>
#include <vector>

#include "kernels/common/errors.h"

namespace feynkac::addon {

// Starts `work` on a thread and returns { promise, cancel }. `keepAlive`: the JS values whose memory the work uses
// (read their pointers and lengths before, on the JS thread). `result` runs on the JS thread after the work ended well
// and gives the promise's value. What `work` throws rejects the promise: std::invalid_argument -> FEYNKAC_ARGUMENT,
// std::bad_alloc -> FEYNKAC_OUT_OF_MEMORY, NumericsError, DeviceError, Cancelled -> FEYNKAC_ABORTED, anything else ->
// FEYNKAC_INTERNAL. When the environment closes first (process.exit, worker.terminate) the stop flag is set and the
// job waited for.
Napi::Value startJob(Napi::Env env, const std::vector<Napi::Value>& keepAlive, std::function<void(const Stop&)> work,
                     std::function<Napi::Value(Napi::Env)> result = nullptr);

// What startJob returns, of work that was done at once: { value }.
Napi::Value doneJob(Napi::Env env, Napi::Value value);

// The error that synchronous functions throw, with the same codes: call inside a catch (...) block.
Napi::Error currentError(Napi::Env env);

// A synchronous function with that: a C++ exception, as of an argument check, becomes a JS one with its code.
template <Napi::Value (*F)(const Napi::CallbackInfo&)>
Napi::Value guarded(const Napi::CallbackInfo& info) {
  try {
    return F(info);
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw currentError(info.Env());
  }
}

}  // namespace feynkac::addon
