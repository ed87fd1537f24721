// One call of a backend under test: its arrays, each in an allocation of exactly its size.
#pragma once

#include <map>
#include <type_traits>

#ifdef FEYNKAC_EMULATED
#include "test/emulator/emulator.h"
#endif

namespace feynkac::test {

// How CUDA threads that run on the CPU are scheduled.
#ifdef FEYNKAC_EMULATED
using Schedule = emulator::Config;
#else
struct Schedule {};
#endif

// c(p, n) is p's copy on the device (null for null), filled from host memory; writable ones are read back at the end.
template <class Backend>
class StagedCall {
 public:
  StagedCall(Backend& k, [[maybe_unused]] const Schedule& schedule) : k_(k) {
#ifdef FEYNKAC_EMULATED
    emulator::config = schedule;
#endif
  }
  ~StagedCall() noexcept(false) {
    for (const auto& [host, array] : arrays_) {
      if (array.written) k_.download(const_cast<void*>(host), array.device, array.bytes);
      k_.release(array.device);
    }
  }
  StagedCall(const StagedCall&) = delete;
  StagedCall& operator=(const StagedCall&) = delete;

  template <class T>
  T* operator()(T* host, size_t n) {
    if (host == nullptr) return nullptr;
    auto& array = arrays_[host];
    if (array.device == nullptr) {
      array = {k_.allocate(n * sizeof(T)), n * sizeof(T), !std::is_const_v<T>};
      k_.upload(array.device, host, array.bytes);
    }
    return static_cast<T*>(array.device);
  }

 private:
  struct Array {
    void* device = nullptr;
    size_t bytes = 0;
    bool written = false;
  };
  Backend& k_;
  std::map<const void*, Array> arrays_;
};

}  // namespace feynkac::test
