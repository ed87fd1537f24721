// How many blocks and threads a launch takes.
#pragma once

#include <cstddef>

#include "gpu.cuh"

namespace feynkac {

// How many units of `each` cover n.
inline unsigned cover(size_t n, size_t each) { return static_cast<unsigned>((n + each - 1) / each); }

// Blocks of a kernel whose threads stride over n units, `each` of them at a time for a block: enough to fill any device.
inline unsigned blocksFor(size_t n, size_t each) {
  const size_t blocks = (n + each - 1) / each;
  return static_cast<unsigned>(blocks < 8192 ? blocks : 8192);
}

// Threads over [rows, columns]: along x over the columns and along y over rows, both in strides; few rows get more blocks
// along their columns (blockIdx.y).
struct RowGrid {
  dim3 grid, block;
  RowGrid(size_t rows, size_t columns, unsigned threads) {
    unsigned across = 1;
    while (across < columns && across < 128) across *= 2;
    block = dim3(across, threads / across);
    const unsigned blocks = blocksFor(rows, block.y), wanted = cover(columns, across), room = 4096 / blocks;
    grid = dim3(blocks, wanted < room ? wanted : room > 0 ? room : 1);
  }
};

// Threads that share a row whose sums they make: some lanes of a warp where the row has few units, else a block.
struct RowGroup {
  unsigned width, blocks;
  bool wide;
  RowGroup(size_t rows, size_t units, unsigned threads) : width(1), wide(units > 128) {
    while (!wide && width < units && width < 32) width *= 2;
    if (wide) width = threads;
    blocks = cover(rows * width, threads);
  }
};

}  // namespace feynkac
