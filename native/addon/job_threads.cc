#include "job_threads.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace feynkac::addon {
namespace {

constexpr std::chrono::seconds kRest{2};

class Threads {
 public:
  void run(std::function<void()> work) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (resting_.empty()) {
      std::thread([this, first = std::move(work)]() mutable { live(std::move(first)); }).detach();
      return;
    }
    Thread* const last = resting_.back();
    resting_.pop_back();
    last->work = std::move(work);
    last->wake.notify_one();
  }

 private:
  struct Thread {
    std::function<void()> work;
    std::condition_variable wake;
  };

  void live(std::function<void()> work) {
    Thread self;
    for (;;) {
      work();
      work = nullptr;
      std::unique_lock<std::mutex> lock(mutex_);
      resting_.push_back(&self);
      if (!self.wake.wait_for(lock, kRest, [&] { return bool(self.work); })) {
        resting_.erase(std::find(resting_.begin(), resting_.end(), &self));
        return;
      }
      work = std::exchange(self.work, nullptr);
    }
  }

  std::mutex mutex_;
  std::vector<Thread*>
      resting_;  // the last to rest works first: its scratch memory is warm, and the others come to their end
};

}  // namespace

void runOnThread(std::function<void()> work) {
  static auto* const threads = new Threads;  // never destroyed: its threads end with the process
  threads->run(std::move(work));
}

}  // namespace feynkac::addon
