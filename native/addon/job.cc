#include "job.h"

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>

#include "job_threads.h"

namespace feynkac::addon {
namespace {

// A text of static storage, or of an exception that is being handled: where memory has run out there is none for copies.
struct Failure {
  const char *code, *message;
};

// What the exception that is being handled says.
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

// How many threads work for an environment.
class Busy {
 public:
  void enter() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++count_;
  }
  void leave() {
    const std::lock_guard<std::mutex> lock(mutex_);
    --count_;
    changed_.notify_all();
  }
  void waitForNone() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return count_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

struct Job {
  Napi::Promise::Deferred deferred;
  std::vector<Napi::ObjectReference> keep;
  std::function<void(const Stop&)> work;
  std::function<Napi::Value(Napi::Env)> result;
  std::shared_ptr<std::atomic<bool>> stop = std::make_shared<std::atomic<bool>>(false);
  std::exception_ptr error;

  explicit Job(Napi::Env env) : deferred(Napi::Promise::Deferred::New(env)) {}

  void settle(Napi::Env env) {
    try {
      if (error) std::rethrow_exception(error);
      deferred.Resolve(result ? result(env) : env.Undefined());
    } catch (const Napi::Error& e) {
      deferred.Reject(e.Value());
    } catch (...) {
      deferred.Reject(currentError(env).Value());
    }
  }
};

class Desk;
void onJsThread(Napi::Env env, Napi::Function, Desk* desk, Job* job);

// The jobs of an environment, and the way of their results into it. On the environment's thread but where it says otherwise.
class Desk {
 public:
  static Desk& of(Napi::Env env) {
    const std::lock_guard<std::mutex> lock(mutex());
    auto& desk = desks()[env];
    if (!desk) desk.reset(new Desk(env));
    return *desk;
  }

  void start(Napi::Env env, std::unique_ptr<Job> owner) {
    Job* const job = owner.get();
    running_.emplace(job, std::move(owner));
    busy_->enter();
    try {
      runOnThread([this, job, busy = busy_] {
        runJob(job);
        busy->leave();
      });
    } catch (...) {
      busy_->leave();
      running_.erase(job);
      throw;
    }
    if (running_.size() == 1) toJs_.Ref(env);  // the environment does not end while there is a job
  }

  void finish(Job* job, Napi::Env env) {
    const std::unique_ptr<Job> owner = std::move(running_.at(job));
    running_.erase(job);
    if (running_.empty()) toJs_.Unref(env);
    const Napi::HandleScope scope(env);
    owner->settle(env);
  }

 private:
  explicit Desk(Napi::Env env)
      : toJs_(decltype(toJs_)::New(env, "feynkac job", /*maxQueueSize=*/0, /*initialThreadCount=*/1, this)) {
    toJs_.Unref(env);
    napi_add_env_cleanup_hook(env, close,
                              static_cast<napi_env>(env));  // runs before that of toJs_: last come, first served
  }

  static std::mutex& mutex() {
    static auto* const m = new std::mutex;
    return *m;
  }
  static std::map<napi_env, std::unique_ptr<Desk>>& desks() {
    static auto* const d = new std::map<napi_env, std::unique_ptr<Desk>>;
    return *d;
  }

  // On a thread of its own: no Napi value may be touched.
  void runJob(Job* job) {
    const Stop stop(job->stop.get());
    try {
      stop.check();
      job->work(stop);
    } catch (...) {
      job->error = std::current_exception();
    }
    toJs_.BlockingCall(job);  // needs no memory of ours
  }

  static void close(void* p) {
    std::unique_ptr<Desk> desk;
    {
      const std::lock_guard<std::mutex> lock(mutex());
      const auto found = desks().find(static_cast<napi_env>(p));
      desk = std::move(found->second);
      desks().erase(found);
    }
    for (const auto& entry : desk->running_) *entry.second->stop = true;
    desk->busy_->waitForNone();  // the memory that the threads read belongs to this environment
    for (const auto& entry : desk->running_)
      for (Napi::ObjectReference& value : entry.second->keep)
        value.SuppressDestruct();  // the environment frees them itself
  }

  Napi::TypedThreadSafeFunction<Desk, Job, onJsThread> toJs_;  // closed by the environment
  std::map<Job*, std::unique_ptr<Job>> running_;
  const std::shared_ptr<Busy> busy_ = std::make_shared<Busy>();
};

void onJsThread(Napi::Env env, Napi::Function, Desk* desk, Job* job) {
  if (env != nullptr) desk->finish(job, env);  // null: the environment has closed, and desk and job are gone with it
}

}  // namespace

Napi::Error currentError(Napi::Env env) { return errorOf(env, currentFailure()); }

Napi::Value startJob(Napi::Env env, const std::vector<Napi::Value>& keepAlive, std::function<void(const Stop&)> work,
                     std::function<Napi::Value(Napi::Env)> result) {
  auto job = std::make_unique<Job>(env);
  for (const Napi::Value& value : keepAlive)
    if (value.IsObject()) job->keep.push_back(Napi::Persistent(value.As<Napi::Object>()));
  job->work = std::move(work);
  job->result = std::move(result);
  auto out = Napi::Object::New(env);
  out["promise"] = job->deferred.Promise();
  out["cancel"] = Napi::Function::New(env, [stop = job->stop](const Napi::CallbackInfo&) { *stop = true; });
  try {
    Desk::of(env).start(env, std::move(job));
  } catch (const std::system_error&) {
    throw errorOf(env, {"FEYNKAC_OUT_OF_MEMORY", "the system does not start another thread: end other work first"});
  }
  return out;
}

Napi::Value doneJob(Napi::Env env, Napi::Value value) {
  auto out = Napi::Object::New(env);
  out["value"] = value;
  return out;
}

}  // namespace feynkac::addon
