// Threads in the place of processes, for tests of what processes do together.
#pragma once

#include <condition_variable>
#include <cstring>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "engine/trainable.h"

namespace feynkac::test {

// Whose turn it is. No mutex is held meanwhile: who works locks others, in orders of its own.
class Turn {
 public:
  void lock() {
    std::unique_lock<std::mutex> own(mutex_);
    free_.wait(own, [&] { return !taken_; });
    taken_ = true;
  }
  void unlock() {
    const std::lock_guard<std::mutex> own(mutex_);
    taken_ = false;
    free_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable free_;
  bool taken_ = false;
};

// One of them works at a time.
class Together {
 public:
  // local: as many of them are on each machine.
  explicit Together(int size, int local = 1) : size_(size), local_(local), sums_(size) {}

  // The results of job(share) of each.
  template <class Job>
  std::vector<std::vector<double>> run(const Job& job) {
    return each([&](int r, std::unique_lock<Turn>& turn) { return job(shareOf(r, turn)); });
  }

  // The results of job(rank, turn) of each, which hold the turn while they work.
  template <class Job>
  std::vector<std::vector<double>> each(const Job& job) {
    std::vector<std::vector<double>> results(size_);
    std::vector<std::thread> threads;
    threads.reserve(size_);
    for (int r = 0; r < size_; ++r)
      threads.emplace_back([&, r] {
        std::unique_lock<Turn> turn(turn_);
        results[r] = job(r, turn);
      });
    for (auto& thread : threads) thread.join();
    return results;
  }

  HostLinks linksOf(int rank, std::unique_lock<Turn>& turn) {
    return {rank,
            size_,
            rank % local_,
            local_,
            [this, rank, &turn](const void* own, void* all, size_t bytes) {
              bytes_.resize(bytes * size_);
              std::memcpy(bytes_.data() + bytes * rank, own, bytes);
              barrier(turn);
              std::memcpy(all, bytes_.data(), bytes * size_);
              barrier(turn);
            },
            [this, rank, &turn](const std::vector<float*>& nodes, size_t leaves, size_t n) {
              sum(rank, turn, nodes, leaves, n, local_);
            }};
  }

  Share shareOf(int rank, std::unique_lock<Turn>& turn) {
    Share share;
    share.rank = rank;
    share.size = size_;
    share.part = 100;
    share.sum = [this, rank, &turn](const std::vector<float*>& nodes, size_t leaves, size_t n) {
      sum(rank, turn, nodes, leaves, n, 1);
    };
    share.gather = [this, rank, &turn](const double* own, double* all, const std::vector<size_t>& counts) {
      gathered_.resize(std::accumulate(counts.begin(), counts.end(), size_t{0}));
      const auto at =
          gathered_.begin() + static_cast<ptrdiff_t>(std::accumulate(counts.begin(), counts.begin() + rank, size_t{0}));
      std::copy_n(own, counts[rank], at);
      barrier(turn);
      std::copy(gathered_.begin(), gathered_.end(), all);
      barrier(turn);
    };
    return share;
  }

 private:
  // Among every `stride`-th process.
  void sum(int rank, std::unique_lock<Turn>& turn, const std::vector<float*>& nodes, size_t leaves, size_t n,
           int stride) {
    sums_[rank].clear();
    for (const float* node : nodes) sums_[rank].emplace_back(node, node + n);
    barrier(turn);
    const int several = size_ / stride;
    std::vector<TreeNode> all;
    std::vector<const float*> parts;
    for (int g = 0; g < several; ++g) {
      nodesOf({0, leaves}, g * leaves / several, (g + 1) * leaves / several, all);
      for (const auto& sum : sums_[g * stride + rank % stride]) parts.push_back(sum.data());
    }
    CHECK(parts.size() == all.size(), "%zu sums for %zu nodes", parts.size(), all.size());
    if (n > 0) treeSum(nodes.back(), all, n, [&](size_t p) { return parts[p]; });
    barrier(turn);
  }

  void barrier(std::unique_lock<Turn>& turn) {
    const int now = barriers_;
    if (++arrived_ == size_) {
      arrived_ = 0;
      ++barriers_;
      all_.notify_all();
    } else {
      all_.wait(turn, [&] { return barriers_ != now; });
    }
  }

  const int size_, local_;
  std::vector<char> bytes_;
  std::vector<std::vector<std::vector<float>>> sums_;
  std::vector<double> gathered_;
  Turn turn_;
  std::condition_variable_any all_;
  int arrived_ = 0, barriers_ = 0;
};

// What each of several processes gets is what one alone does.
template <class Job>
void testShared(const std::string& name, const std::vector<int>& sizes, const Job& job) {
  const auto alone = job(Share());
  for (const double value : alone) CHECK(std::isfinite(value), "%s: a value was left out", name.c_str());
  for (const int size : sizes) {
    const auto shared = Together(size).run(job);
    for (int r = 0; r < size; ++r) CHECK(shared[r] == alone, "%s: process %d of %d", name.c_str(), r, size);
  }
}

}  // namespace feynkac::test
