// What native code throws. The addon turns each into a JS error with a code (addon/job.cc), lib/native/addon.ts into a class.
#pragma once

#include <atomic>
#include <stdexcept>

namespace feynkac {

// NaN or infinity where a number was needed.
struct NumericsError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A device is missing or unusable.
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The work was cancelled by its owner.
struct Cancelled : std::runtime_error {
  Cancelled() : std::runtime_error("cancelled") {}
};

// A job's stop flag, polled between steps.
class Stop {
 public:
  explicit Stop(const std::atomic<bool>* flag = nullptr) : flag_(flag) {}
  bool requested() const { return flag_ != nullptr && flag_->load(std::memory_order_relaxed); }
  void check() const {
    if (requested()) throw Cancelled();
  }

 private:
  const std::atomic<bool>* flag_;
};

}  // namespace feynkac
