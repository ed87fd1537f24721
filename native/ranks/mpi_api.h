// MPI as a mover of bytes, bound at run time: no header and no library of MPI is needed to build this. The arithmetic of sums is
// ours (tree_sum.h), in an order that does not depend on the number of ranks, so of MPI's constants a few are all that is used, and
// the differences of its three binary interfaces fit into one table (mpi_api.cpp).
#pragma once

#include <memory>
#include <string>

namespace feynkac {

// An operation that was started. Calls of done() make progress; it is true once.
class Pending {
 public:
  virtual ~Pending() = default;
  virtual bool done() = 0;
};

// Errors of MPI are std::runtime_error with its own words. All calls but load() on the one thread that called open().
class MpiApi {
 public:
  // Loads a library and finds which interface it has; MPI is not initialised. `stays`: for open(), in the global scope, where Open
  // MPI's plug-ins look for its symbols. Throws DeviceError.
  static std::unique_ptr<MpiApi> load(const std::string& library, bool stays = true);
  virtual ~MpiApi() = default;

  std::string version, interface;  // after load: what the library calls itself; 'mpich', 'openmpi' or 'standard'

  // MPI_Init_thread(FUNNELED), and communicators of our own, whose errors are returned.
  virtual void open() = 0;
  int rank = 0, size = 1, localRank = 0, localSize = 1;  // after open
  virtual void finalize() = 0;
  virtual void abort(int code) = 0;  // ends all ranks

  // Counts and offsets are of bytes, one for each rank, and have to live as long as the operation. `leaving`: apart from all others,
  // so that a rank that leaves meets none that still works.
  virtual std::unique_ptr<Pending> barrier(bool leaving = false) = 0;
  virtual std::unique_ptr<Pending> broadcast(void* data, int bytes, int root) = 0;
  // own null: what is at this rank's place in `out`.
  virtual std::unique_ptr<Pending> allGather(const void* own, int bytes, void* out, const int* counts,
                                             const int* offsets) = 0;
  virtual std::unique_ptr<Pending> allToAll(const void* in, const int* inCounts, const int* inOffsets, void* out,
                                            const int* outCounts, const int* outOffsets) = 0;
};

}  // namespace feynkac
