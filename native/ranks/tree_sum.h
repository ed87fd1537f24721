// A sum whose order is a function of the number of its parts alone. Parts 0 .. n - 1 are the leaves of a binary tree whose left
// subtrees are full: [first, last) is cut at first + the largest power of two below last - first. So 2^k parts from a multiple
// of 2^k on are always one subtree, and whoever holds them can add them up beforehand.
#pragma once

#include <algorithm>
#include <cstddef>

namespace feynkac {

// n >= 2
inline size_t treeCut(size_t n) {
  size_t cut = 1;
  while (2 * cut < n) cut *= 2;
  return cut;
}

// out[i] = sum over p of part(p)[i], i < n. `out` may be the memory of part(0), and of no other.
template <class T, class Part>
void treeSum(T* out, size_t parts, size_t n, const Part& part) {
  constexpr size_t kBlock = 1024;  // values that stay in the first level of the cache
  struct Block {
    const Part& part;
    size_t at, count;
    void sum(T* to, size_t first, size_t last) const {
      if (last - first == 1) {
        const T* from = part(first) + at;
        if (from != to) std::copy_n(from, count, to);
        return;
      }
      const size_t middle = first + treeCut(last - first);
      T right[kBlock];
      const T* other = right;
      if (last - middle == 1)
        other = part(middle) + at;
      else
        sum(right, middle, last);
      sum(to, first, middle);
      for (size_t i = 0; i < count; ++i) to[i] += other[i];
    }
  };
  for (size_t at = 0; at < n; at += kBlock) Block{part, at, std::min(kBlock, n - at)}.sum(out + at, 0, parts);
}

}  // namespace feynkac
