// The genealogy of particles, on the host: the initial particle, their root, that each descends from (lib/smc/diagnostics.ts).
#pragma once

#include <cstddef>
#include <cstdint>

namespace feynkac {

struct Roots {
  const int32_t* of;  // [n], each in 0 .. n - 1
  double* families;   // [n] zeros, which they are again after every call; null: every particle is its own root
};

// The sum over roots of their descendants' squared share, of the weights [n].
double concentration(const Roots& roots, const double* weights, size_t n);

// to[i] = roots[ancestors[i]]. Returns how many different ones are left.
size_t descend(int32_t* to, const int32_t* roots, const int32_t* ancestors, size_t n);

// How many different values a [n] has, all in 0 .. count - 1.
size_t countDistinct(const int32_t* a, size_t n, size_t count);

}  // namespace feynkac
