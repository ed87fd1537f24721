// Parallel loops for host code outside the kernels.
#pragma once

#include <cstddef>

#include "threads.h"

namespace feynkac {

// f(first, last) over pieces of `each` of the range 0 .. n; the split does not depend on the number of threads.
template <class F>
void forPieces(size_t n, size_t each, const F& f) {
  struct Context {
    const F& f;
    size_t n, each;
  } context{f, n, each};
  runPieces(static_cast<int>((n + each - 1) / each), &context, [](void* p, int piece) {
    const auto& c = *static_cast<Context*>(p);
    const size_t first = static_cast<size_t>(piece) * c.each;
    c.f(first, first + c.each < c.n ? first + c.each : c.n);
  });
}

}  // namespace feynkac
