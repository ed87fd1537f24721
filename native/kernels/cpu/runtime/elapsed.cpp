// Time as a backend without a stream of its own measures it.
#include <chrono>

#include "kernels/common/kernels.h"
#include "kernels/common/particles.h"

namespace feynkac {
namespace {

double byTheClock(const std::function<void()>& calls) {
  const auto begin = std::chrono::steady_clock::now();
  calls();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

double Kernels::elapsed(const std::function<void()>& calls) { return byTheClock(calls); }
double ParticleKernels::elapsed(const std::function<void()>& calls) { return byTheClock(calls); }

}  // namespace feynkac
