// Sums over ranks of arrays that lie on GPUs, in two levels: NCCL between the GPUs of a machine, MPI between machines, where each rank
// takes the part of the arrays that it has added up. The order is that of tree_sum.h at both levels, so the bits are those of
// Communicator::sum. Between machines each value travels once for all GPUs of a machine, not once for each.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/common/kernels.h"
#include "ranks/nccl_api.h"
#include "ranks/tree_sum.h"

namespace feynkac {

// What the ranks have beside NCCL (communicator.h). Host memory.
struct HostLinks {
  int rank, size, localRank, localSize;
  std::function<void(const void* own, void* all, size_t bytes)> gather;  // so many bytes of each rank
  // As Communicator::sum, among every localSize-th rank.
  std::function<void(const std::vector<float*>& nodes, size_t leaves, size_t n)> sum;
};

// Of so many floats at least that travel at a time: more between many machines, where each message costs.
inline size_t atOnce(size_t floats, int hosts) { return floats * std::max(1, hosts / 16); }

class DeviceSum {
 public:
  // All ranks call it at the same time, each with the kernels of its own device. Null, on all of them, where they have to go by way of
  // the host; `reason` is then why.
  static std::unique_ptr<DeviceSum> open(const std::string& library, const HostLinks& links, Kernels& kernels,
                                         std::string& reason);

  // Bytes of the device's memory that sum() works in.
  size_t room(size_t leaves, size_t n) const;
  // Communicator::sum of arrays of the device, on the stream of `kernels`.
  void sum(Kernels& kernels, const std::vector<float*>& own, size_t leaves, size_t n, void* room);

  const std::string& version() const { return api_->version; }

 private:
  DeviceSum(std::shared_ptr<NcclApi> api, const HostLinks& links);
  // The nodes of the ranks of this machine, in order; ends[i]: of the i-th's.
  std::vector<TreeNode> nodesHere(size_t leaves, std::vector<size_t>& ends) const;

  std::shared_ptr<NcclApi> api_;
  HostLinks links_;
  const size_t segment_;  // floats that are added up at a time
  std::unique_ptr<NcclApi::Group> group_;
  std::vector<std::vector<float>> onHost_;
};

}  // namespace feynkac
