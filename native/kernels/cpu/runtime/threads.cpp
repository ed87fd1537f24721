#include "threads.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "host_memory.h"

namespace feynkac {
namespace {

constexpr int kSpins = 2000;  // tens of microseconds: the gap between two kernels is shorter than a wake-up

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// One region of work at a time. Workers that come while it is open take pieces beside the caller; one that comes late
// finds it closed, so the caller never waits for a thread that has not begun.
//
// Every thread has a share of the pieces, the same range of them in each region, and helps with the others' when its own is
// done: what one kernel has written lies in the cache of the core that the next one reads it on.
class Pool {
 public:
  bool tryRun(int n, int threads, void* context, Piece piece) {
    const std::unique_lock<std::mutex> caller(callers_, std::try_to_lock);
    if (!caller.owns_lock()) return false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      hire(threads - 1);
      share(n, threads);
      context_ = context;
      piece_ = piece;
      error_ = nullptr;
      open_ = true;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    takePieces(0);
    std::unique_lock<std::mutex> lock(mutex_);
    open_ = false;
    lock.unlock();
    for (int spin = 0; spin < kSpins && active_.load(std::memory_order_acquire) > 0; ++spin) pause();
    lock.lock();
    idle_.wait(lock, [this] { return active_.load() == 0; });
    if (error_) std::rethrow_exception(error_);
    return true;
  }

 private:
  struct alignas(64) Share {  // a cache line each
    std::atomic<int> next{0};
    int end = 0;
  };

  void share(int n, int threads) {
    if (shares_.size() < static_cast<size_t>(threads)) shares_ = std::vector<Share>(threads);
    threads_ = threads;
    for (int t = 0; t < threads; ++t) {
      shares_[t].next = static_cast<int>(int64_t{n} * t / threads);
      shares_[t].end = static_cast<int>(int64_t{n} * (t + 1) / threads);
    }
  }

  void hire(int workers) {
    for (; hired_ < workers; ++hired_) {
      try {
        std::thread(&Pool::work, this, hired_ + 1).detach();
      } catch (const std::exception&) {  // no thread, or no memory for one
        return;                          // fewer threads: slower, and the same results
      }
    }
  }

  void takePieces(int thread) {
    for (int t = 0; t < threads_; ++t) {
      Share& from = shares_[(thread + t) % threads_];
      for (int i; (i = from.next.fetch_add(1, std::memory_order_relaxed)) < from.end;) {
        try {
          piece_(context_, i);
        } catch (...) {
          const std::lock_guard<std::mutex> lock(mutex_);
          if (!error_) error_ = std::current_exception();
        }
      }
    }
  }

  void work(int thread) {
    unsigned seen = 0;
    for (;;) {
      for (int spin = 0; spin < kSpins && generation_.load(std::memory_order_acquire) == seen; ++spin) pause();
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return generation_.load() != seen; });
      seen = generation_.load();
      if (!open_ || thread >= threads_) continue;
      active_.fetch_add(1);
      lock.unlock();
      takePieces(thread);
      lock.lock();
      if (active_.fetch_sub(1) == 1) idle_.notify_one();
    }
  }

  std::mutex callers_, mutex_;
  std::condition_variable wake_, idle_;
  std::atomic<unsigned> generation_{0};
  std::atomic<int> active_{0};
  std::vector<Share> shares_;
  int threads_ = 0, hired_ = 0;
  bool open_ = false;
  void* context_ = nullptr;
  Piece piece_ = nullptr;
  std::exception_ptr error_;
};

// Never destroyed: its threads end with the process, whatever order statics are destroyed in.
Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}

std::atomic<int> wanted{0};

}  // namespace

int threadCount() {
  static const int cores =
      std::max(1, static_cast<int>(std::thread::hardware_concurrency()));  // reads a file of the system
  const int n = wanted.load(std::memory_order_relaxed);
  return n > 0 ? n : cores;
}

void setThreadCount(int n) { wanted = n; }

void runPieces(int n, void* context, Piece piece) {
  const int threads = std::min(threadCount(), n);
  if (threads > 1 && pool().tryRun(n, threads, context, piece)) return;
  for (int i = 0; i < n; ++i) piece(context, i);
}

float* scratch(int slot, size_t floats) {
  struct Memory {
    float* data = nullptr;
    size_t floats = 0;
    ~Memory() { freeHost(data); }
  };
  thread_local Memory memory[4];
  Memory& m = memory[slot];
  if (m.floats < floats) {
    freeHost(m.data);
    m.data = nullptr;
    m.floats = 0;
    m.data = static_cast<float*>(allocateHost(floats * sizeof(float)));
    m.floats = floats;
  }
  return m.data;
}

}  // namespace feynkac
