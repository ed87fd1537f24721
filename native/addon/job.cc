#include "job.h"

#include <memory>
#include <new>
#include <string>
#include <thread>

namespace feynkac::addon {
namespace {

struct Failure {
  std::string code, message;
};

Failure failureOf(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Cancelled&) {
    return {"FEYNKAC_ABORTED", "the work was cancelled"};
  } catch (const std::bad_alloc&) {
    return {"FEYNKAC_OUT_OF_MEMORY", "out of memory: use a smaller batch (or micro-batch), or a smaller network"};
  } catch (const std::length_error&) {
    return {"FEYNKAC_OUT_OF_MEMORY", "out of memory: use a smaller batch (or micro-batch), or a smaller network"};
  } catch (const std::invalid_argument& e) {
    return {"FEYNKAC_ARGUMENT", e.what()};
  } catch (const NumericsError& e) {
    return {"FEYNKAC_NUMERICS", e.what()};
  } catch (const DeviceError& e) {
    return {"FEYNKAC_DEVICE", e.what()};
  } catch (const std::exception& e) {
    return {"FEYNKAC_INTERNAL", e.what()};
  } catch (...) {
    return {"FEYNKAC_INTERNAL", "unknown native error"};
  }
}

Napi::Error errorOf(Napi::Env env, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, failure.message);
  error.Set("code", failure.code);
  return error;
}

struct Job {
  Napi::Promise::Deferred deferred;
  std::vector<Napi::ObjectReference> keep;
  std::function<void(const Stop&)> work;
  std::function<Napi::Value(Napi::Env)> result;
  Napi::ThreadSafeFunction toJs;
  std::thread thread;
  std::shared_ptr<std::atomic<bool>> stop = std::make_shared<std::atomic<bool>>(false);
  std::exception_ptr error;
  napi_env env;

  explicit Job(Napi::Env e) : deferred(Napi::Promise::Deferred::New(e)), env(e) {}
};

void onEnvironmentClose(void* p) {
  const std::unique_ptr<Job> job(static_cast<Job*>(p));
  *job->stop = true;
  job->thread.join();  // the memory that the thread reads belongs to this environment
  for (Napi::ObjectReference& value : job->keep) value.SuppressDestruct();  // the environment frees them itself
}

void finish(Job* job, Napi::Env env) {
  napi_remove_env_cleanup_hook(job->env, onEnvironmentClose, job);
  job->thread.join();
  std::unique_ptr<Job> owner(job);
  Napi::HandleScope scope(env);
  if (job->error) {
    job->deferred.Reject(errorOf(env, failureOf(job->error)).Value());
  } else {
    try {
      job->deferred.Resolve(job->result ? job->result(env) : env.Undefined());
    } catch (const Napi::Error& e) {
      job->deferred.Reject(e.Value());
    }
  }
  job->toJs.Release();
}

void runOnThread(Job* job) {  // no Napi value may be touched here
  const Stop stop(job->stop.get());
  try {
    stop.check();
    job->work(stop);
  } catch (...) {
    job->error = std::current_exception();
  }
  job->toJs.BlockingCall([job](Napi::Env env, Napi::Function) {
    if (env != nullptr) finish(job, env);  // null: the environment has closed, and the job is gone with it
  });
}

}  // namespace

Napi::Error currentError(Napi::Env env) { return errorOf(env, failureOf(std::current_exception())); }

Napi::Value startJob(Napi::Env env, const std::vector<Napi::Value>& keepAlive, std::function<void(const Stop&)> work,
                     std::function<Napi::Value(Napi::Env)> result) {
  auto owner = std::make_unique<Job>(env);
  Job* job = owner.get();
  for (const Napi::Value& value : keepAlive)
    if (value.IsObject()) job->keep.push_back(Napi::Persistent(value.As<Napi::Object>()));
  job->work = std::move(work);
  job->result = std::move(result);
  auto nothing = Napi::Function::New(env, [](const Napi::CallbackInfo&) {});
  job->toJs = Napi::ThreadSafeFunction::New(env, nothing, "feynkac job", /*maxQueueSize=*/0, /*initialThreadCount=*/1);

  auto out = Napi::Object::New(env);
  out["promise"] = job->deferred.Promise();
  out["cancel"] = Napi::Function::New(env, [stop = job->stop](const Napi::CallbackInfo&) { *stop = true; });
  try {
    job->thread = std::thread(runOnThread, job);
  } catch (const std::system_error& e) {
    job->toJs.Release();
    throw errorOf(env, {"FEYNKAC_OUT_OF_MEMORY", std::string("cannot start a thread: ") + e.what()});
  }
  napi_add_env_cleanup_hook(env, onEnvironmentClose, owner.release());
  return out;
}

}  // namespace feynkac::addon
