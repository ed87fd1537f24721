#include "job_threads.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

namespace feynkac::addon {
namespace {

constexpr std::chrono::seconds kRest{2};

class Threads {
 public:
  void run(std::function<void()> work) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (resting_ == nullptr) {
      std::thread([this, first = std::move(work)]() mutable { live(std::move(first)); }).detach();
      return;
    }
    Thread* const last = resting_;
    resting_ = last->before;
    last->work = std::move(work);
    last->wake.notify_one();
  }

 private:
  struct Thread {
    std::function<void()> work;
    std::condition_variable wake;
    Thread* before = nullptr;  // that rested when this one began to: a list that needs no memory
  };

  void live(std::function<void()> work) {
    Thread self;
    for (;;) {
      work();
      work = nullptr;
      std::unique_lock<std::mutex> lock(mutex_);
      self.before = std::exchange(resting_, &self);
      // wait_for would take pthread_cond_clockwait, which is new in glibc 2.30
      if (!self.wake.wait_until(lock, std::chrono::system_clock::now() + kRest, [&] { return bool(self.work); })) {
        Thread** at = &resting_;
        while (*at != &self) at = &(*at)->before;
        *at = self.before;
        return;
      }
      work = std::exchange(self.work, nullptr);
    }
  }

  std::mutex mutex_;
  // the last to rest works first: its scratch memory is warm, and the others come to their end
  Thread* resting_ = nullptr;
};

}  // namespace

void runOnThread(std::function<void()> work) {
  static auto* const threads = new Threads;  // never destroyed: its threads end with the process
  threads->run(std::move(work));
}

}  // namespace feynkac::addon
