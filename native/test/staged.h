// A backend under test, called with host memory: every array of a call gets its own allocation of exactly its size on
// the device, filled before and read back after, so that the same test serves every backend and sees every overrun.
#pragma once

#include <memory>
#include <vector>

#include "kernels/common/kernels.h"
#include "staged_call.h"

namespace feynkac::test {

class Staged final : public Kernels {
 public:
  explicit Staged(std::unique_ptr<Kernels> kernels, const Schedule& schedule = {})
      : k_(std::move(kernels)), schedule_(schedule) {}

  void* allocate(size_t bytes) override { return k_->allocate(bytes); }
  void release(void* memory) override { k_->release(memory); }
  void upload(void* to, const void* from, size_t bytes) override { k_->upload(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) override { k_->download(to, from, bytes); }
  void zero(void* to, size_t bytes) override { k_->zero(to, bytes); }
  void copy(void* to, const void* from, size_t bytes) override { k_->copy(to, from, bytes); }

  size_t convPackedBytes(int kernel, int in, int out) override { return k_->convPackedBytes(kernel, in, out); }
#define FEYNKAC_STAGE(Op) \
  void run(const op::Op& o) override { staged(o); }
  FEYNKAC_OPERATIONS(FEYNKAC_STAGE)
#undef FEYNKAC_STAGE

 private:
  struct Arrays {
    StagedCall<Kernels> call;
    template <class T>
    void writes(T*& p, size_t n, bool = false) {
      p = call(p, n);
    }
    template <class T>
    void updates(T*& p, size_t n) {
      p = call(p, n);
    }
    template <class T>
    void reads(const T*& p, size_t n) {
      p = call(p, n);
    }
    void packed(const void*, size_t) {}  // is the backend's already
  };
  template <class Op>
  void staged(Op o) {
    Arrays arrays{{*k_, schedule_}};
    o.arrays(arrays);
    k_->run(o);
  }

  std::unique_ptr<Kernels> k_;
  Schedule schedule_;
};

}  // namespace feynkac::test
