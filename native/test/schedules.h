// How CUDA threads that run on the CPU take turns in the tests, and how much of a test they run.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "staged_call.h"

namespace feynkac::test {

// CUDA kernels that run on the CPU are slow: they get the smallest shapes that still reach every kernel and every tail. All
// shapes in every order with FEYNKAC_TEST_FULL=1.
inline bool full() {
  static const char* const value = std::getenv("FEYNKAC_TEST_FULL");
  return value != nullptr && std::string(value) == "1";
}

#ifdef FEYNKAC_EMULATED
struct NamedSchedule {
  const char* name;
  Schedule schedule;
};

// Each finds races that the others miss. An address sanitizer sees what it can find in any order, so it gets one.
inline std::vector<NamedSchedule> schedules() {
  std::vector<NamedSchedule> out(3);
  out[0].name = "forward, late copies";
  out[1].name = "reverse, early copies";
  out[1].schedule.order = emulator::kReverse;
  out[1].schedule.copies = emulator::kEarly;
  out[2].name = "random";
  out[2].schedule.order = emulator::kRandom;
  out[2].schedule.copies = out[2].schedule.products = emulator::kAnyTime;
  out[2].schedule.resident = 3;
  out[2].schedule.lazyStreams = true;
#ifdef __SANITIZE_ADDRESS__
  if (!full()) out.erase(out.begin(), out.begin() + 2);
#endif
  return out;
}
#endif

}  // namespace feynkac::test
