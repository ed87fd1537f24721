// What this process does together with others: collective operations on host memory, called from job threads, by all ranks in the
// same order. One thread of its own makes all calls of MPI, polls what it has started and sleeps in between, so that neither the
// event loop nor a core is held, and an end is never stuck behind a wait.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ranks/mpi_api.h"

namespace feynkac {

struct Place {
  int rank = 0, size = 1;
  int localRank = 0, localSize = 1;  // among the ranks of this machine
  std::string library, version, interface;
};

// Lives as long as the process: MPI can neither be started twice nor unloaded.
class Communicator {
 public:
  // Starts MPI on a thread of its own, from the first of the libraries that loads. `checks`: before each operation the ranks compare
  // what they are about to do. Throws DeviceError.
  Communicator(const std::vector<std::string>& libraries, bool checks);
  const Place& place() const { return place_; }

  // Each blocks its caller. Counts are of bytes, one for each rank. They throw std::runtime_error: what MPI says, or that the ranks
  // have been ended.
  void barrier();
  void broadcast(void* data, size_t bytes, int root);
  void allGather(const void* own, void* out, const std::vector<size_t>& counts);
  void allToAll(const void* in, const std::vector<size_t>& inCounts, void* out, const std::vector<size_t>& outCounts);
  // The sum by the tree of tree_sum.h over `leaves` terms, of which rank r has leaves partBegin(leaves, r, size) .. partBegin(leaves, r + 1, size) - 1,
  // added up to the arrays `nodes` of n values: the same bits on all ranks, whatever the library's own order. In the last of them.
  // stride > 1: among those ranks alone that are as many after rank 0's, 1's, ... as this one, which have the leaves between them; the
  // number of ranks is a multiple of it.
  void sum(const std::vector<float*>& nodes, size_t leaves, size_t n, int stride = 1);
  double secondsWaiting() const { return waiting_; }

  // Leaves, from any thread. Waits up to this number of seconds for the others to do so too. Returns why that cannot be, or nothing.
  std::string leave(double patience);
  // Ends all ranks, and this process with them.
  [[noreturn]] void abort(int code);

 private:
  enum class End { kNone, kLeave, kAbort };
  using Work = std::function<void()>;

  void loop(const std::vector<std::string>& libraries, std::promise<void>& opened);
  std::string leaveNow();
  void runQueue(std::unique_lock<std::mutex>& lock, bool all);
  // Has MPI's thread do `work`; returns when it is done.
  void post(const char* name, size_t bytes, const Work& work);
  // False: it is not done after `patience` seconds, where there is an end to them.
  bool wait(Pending& pending, double patience = -1);
  void compare(const char* name, size_t bytes);
  void gatherNow(const void* own, void* out, const std::vector<size_t>& counts);

  std::unique_ptr<MpiApi> mpi_;
  const bool checks_;
  Place place_;
  std::mutex mutex_;  // of what follows
  std::condition_variable wake_;
  std::deque<Work> queue_;
  std::atomic<End> end_{End::kNone};
  double patience_ = 0;
  int code_ = 1;
  bool left_ = false;
  std::string failure_;  // to leave
  // of MPI's thread
  std::atomic<double> waiting_{0};
  uint64_t calls_ = 0;
  std::string unfinished_;  // the operation that the end came into
  std::vector<float> parts_;
};

}  // namespace feynkac
