// The thread pool: every piece once, several callers at a time, exceptions, and a changing number of threads.
#include "kernels/cpu/runtime/threads.h"

#include <atomic>
#include <stdexcept>
#include <thread>

#include "check.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

struct Counts {
  explicit Counts(int n) : seen(n) {}
  std::vector<std::atomic<int>> seen;
  bool eachOnce() const {
    for (const auto& s : seen)
      if (s != 1) return false;
    return true;
  }
};

void count(void* context, int piece) { static_cast<Counts*>(context)->seen[piece]++; }

bool runsOnce(int n) {
  Counts counts(n);
  runPieces(n, &counts, count);
  return counts.eachOnce();
}

}  // namespace

int main() {
  for (const int threads : {1, 2, 5, 3}) {
    setThreadCount(threads);
    CHECK(threadCount() == threads, "%d threads", threadCount());
    for (const int n : {0, 1, 2, 7, 1000})
      for (int repeat = 0; repeat < 50; ++repeat) CHECK(runsOnce(n), "%d pieces on %d threads", n, threads);
  }

  std::atomic<int> failed{0};
  std::vector<std::thread> callers;
  callers.reserve(4);
  for (int c = 0; c < 4; ++c)
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 500; ++repeat)
        if (!runsOnce(37)) ++failed;
    });
  for (auto& caller : callers) caller.join();
  CHECK(failed == 0, "%d regions of concurrent callers went wrong", failed.load());

  for (const int threads : {1, 4}) {
    setThreadCount(threads);
    bool thrown = false;
    try {
      runPieces(20, nullptr, [](void*, int piece) {
        if (piece == 13) throw std::runtime_error("piece 13");
      });
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    CHECK(thrown, "an exception of a piece was lost");
    CHECK(runsOnce(100), "the pool does not work after an exception");
  }

  float* a = scratch(0, 100);
  float* b = scratch(1, 100);
  CHECK(a != b && reinterpret_cast<uintptr_t>(a) % 64 == 0, "scratch slots");
  CHECK(scratch(0, 50) == a, "a smaller request moved the scratch memory");
  return report("threads");
}
