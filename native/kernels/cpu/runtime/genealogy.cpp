#include "genealogy.h"

#include <vector>

namespace feynkac {

double concentration(const Roots& roots, const double* weights, size_t n) {
  double sum = 0;
  if (roots.families == nullptr) {
    for (size_t i = 0; i < n; ++i) sum += weights[i] * weights[i];
    return sum;
  }
  for (size_t i = 0; i < n;) {  // descendants of a root often lie side by side: their share is added up in a register
    const int32_t root = roots.of[i];
    double share = roots.families[root];
    for (; i < n && roots.of[i] == root; ++i) share += weights[i];
    roots.families[root] = share;
  }
  for (size_t r = 0; r < n; ++r) {
    sum += roots.families[r] * roots.families[r];
    roots.families[r] = 0;
  }
  return sum;
}

size_t descend(int32_t* to, const int32_t* roots, const int32_t* ancestors, size_t n) {
  for (size_t i = 0; i < n; ++i) to[i] = roots[ancestors[i]];
  return countDistinct(to, n, n);
}

size_t countDistinct(const int32_t* a, size_t n, size_t count) {
  std::vector<bool> seen(count);
  size_t distinct = 0;
  for (size_t i = 0; i < n; ++i) {
    distinct += !seen[a[i]];
    seen[a[i]] = true;
  }
  return distinct;
}

}  // namespace feynkac
