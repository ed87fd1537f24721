// A sum whose order is a function of the number of its terms alone. Terms 0 .. n - 1 are the leaves of a binary tree whose left
// subtrees are full: [first, last) is cut at first + the largest power of two below last - first. Whoever holds all leaves of a
// node can add them up beforehand; a run of leaves is a few nodes, and one where it is an aligned 2^k of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace feynkac {

// Where part p of n things begins that are cut into `parts` runs as equal as can be; part `parts` begins at the end.
inline size_t partBegin(size_t n, size_t p, size_t parts) { return n * p / parts; }

// Leaves first .. last - 1, all of one node's.
struct TreeNode {
  size_t first, last;
  size_t cut() const {  // between its children
    size_t left = 1;
    while (2 * left < last - first) left *= 2;
    return first + left;
  }
};

// The fewest nodes of `tree` that leaves first .. last - 1 are, in order, are appended to `out`.
inline void nodesOf(const TreeNode& tree, size_t first, size_t last, std::vector<TreeNode>& out) {
  if (first >= tree.last || last <= tree.first) return;
  if (first <= tree.first && tree.last <= last) return out.push_back(tree);
  nodesOf({tree.first, tree.cut()}, first, last, out);
  nodesOf({tree.cut(), tree.last}, first, last, out);
}

// out[i] = sum over the tree of part(p)[i], i < n, where part(p) is the sum of `nodes[p]`; the nodes are all leaves of the tree.
template <class T, class Part>
void treeSum(T* out, const std::vector<TreeNode>& nodes, size_t n, const Part& part) {
  constexpr size_t kBlock = 1024;  // values that stay in the first level of the cache
  struct Block {
    const std::vector<TreeNode>& nodes;
    const Part& part;
    size_t at, count;
    size_t next = 0;  // node
    void sum(T* to, const TreeNode& tree) {
      if (nodes[next].last == tree.last) {
        std::copy_n(part(next++) + at, count, to);
        return;
      }
      sum(to, {tree.first, tree.cut()});
      const T* other;
      T right[kBlock];
      if (nodes[next].last == tree.last)
        other = part(next++) + at;
      else
        sum(right, {tree.cut(), tree.last}), other = right;
      for (size_t i = 0; i < count; ++i) to[i] += other[i];
    }
  };
  for (size_t at = 0; at < n; at += kBlock)
    Block{nodes, part, at, std::min(kBlock, n - at)}.sum(out + at, {0, nodes.back().last});
}

}  // namespace feynkac
