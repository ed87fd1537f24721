#include "job.h"

#include <memory>
#include <new>
#include <string>
#include <thread>

namespace feynkac::addon {
namespace {

// Of static storage, or of an exception that is being handled: where memory has run out there is none for copies.
struct Failure {
  const char *code, *message;
};

// Of the exception that is being handled.
Failure currentFailure() {
  try {
    throw;
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

struct Job;
void onJsThread(Napi::Env env, Napi::Function, void*, Job* job);

struct Job {
  Napi::Promise::Deferred deferred;
  std::vector<Napi::ObjectReference> keep;
  std::function<void(const Stop&)> work;
  std::function<Napi::Value(Napi::Env)> result;
  Napi::TypedThreadSafeFunction<void, Job, onJsThread> toJs;  // its calls need no memory of ours
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
  const std::unique_ptr<Job> owner(job);
  Napi::HandleScope scope(env);
  try {
    if (job->error) std::rethrow_exception(job->error);
    job->deferred.Resolve(job->result ? job->result(env) : env.Undefined());
  } catch (const Napi::Error& e) {
    job->deferred.Reject(e.Value());
  } catch (...) {
    job->deferred.Reject(currentError(env).Value());
  }
  job->toJs.Release();
}

void onJsThread(Napi::Env env, Napi::Function, void*, Job* job) {
  if (env != nullptr) finish(job, env);  // null: the environment has closed, and the job is gone with it
}

void runOnThread(Job* job) {  // no Napi value may be touched here
  const Stop stop(job->stop.get());
  try {
    stop.check();
    job->work(stop);
  } catch (...) {
    job->error = std::current_exception();
  }
  job->toJs.BlockingCall(job);
}

}  // namespace

Napi::Error currentError(Napi::Env env) { return errorOf(env, currentFailure()); }

Napi::Value startJob(Napi::Env env, const std::vector<Napi::Value>& keepAlive, std::function<void(const Stop&)> work,
                     std::function<Napi::Value(Napi::Env)> result) {
  auto owner = std::make_unique<Job>(env);
  Job* job = owner.get();
  for (const Napi::Value& value : keepAlive)
    if (value.IsObject()) job->keep.push_back(Napi::Persistent(value.As<Napi::Object>()));
  job->work = std::move(work);
  job->result = std::move(result);
  auto out = Napi::Object::New(env);
  out["promise"] = job->deferred.Promise();
  out["cancel"] = Napi::Function::New(env, [stop = job->stop](const Napi::CallbackInfo&) { *stop = true; });
  job->toJs = decltype(job->toJs)::New(env, "feynkac job", /*maxQueueSize=*/0, /*initialThreadCount=*/1);
  try {
    job->thread = std::thread(runOnThread, job);
  } catch (const std::system_error&) {
    job->toJs.Release();
    throw errorOf(env, {"FEYNKAC_OUT_OF_MEMORY", "the system does not start another thread: end other work first"});
  } catch (...) {
    job->toJs.Release();
    throw;
  }
  napi_add_env_cleanup_hook(env, onEnvironmentClose, owner.release());
  return out;
}

}  // namespace feynkac::addon
