// Hopper's asynchronous parts: barriers that count bytes, bulk copies, products of a warpgroup. Copies land and products are made
// as late as the kernel's waits allow, or at once. A product is the affair of each of the four warps by itself, so
// that they run apart as far as the program allows; that they begin the same products is checked.
#include <utility>

#include "emulator.h"

namespace emulator {
namespace {

// The word of a barrier: phase, arrivals still missing, arrivals of each phase, bytes still missing (which may be negative
// for a while: copies may report before they are announced).
struct Barrier {
  uint32_t phase : 1, missing : 15, arrivals : 15, unused : 1;
  int32_t bytes;
};
static_assert(sizeof(Barrier) == sizeof(uint64_t), "a barrier is a word");

Barrier read(const uint64_t* word) {
  const auto b = bits<Barrier>(*word);
  if (b.unused || b.arrivals == 0 || b.missing > b.arrivals) fail("mbarrier: not initialised");
  return b;
}
void write(uint64_t* word, Barrier b) {
  if (b.missing == 0 && b.bytes == 0) {
    b.phase ^= 1;
    b.missing = b.arrivals;
  }
  *word = bits<uint64_t>(b);
  progressed();
}

void land(const Bulk& bulk) {
  std::memcpy(bulk.to, bulk.bytes.data(), bulk.bytes.size());
  std::memcpy(&current->asynchronous->seen[sharedAddress(bulk.to)], bulk.bytes.data(), bulk.bytes.size());
  Barrier b = read(bulk.barrier);
  b.bytes -= static_cast<int32_t>(bulk.bytes.size());
  write(bulk.barrier, b);
}
void landAll(const uint64_t* barrier) {
  auto& bulks = current->asynchronous->bulks;
  for (size_t i = 0; i < bulks.size();)
    if (bulks[i].barrier == barrier) {
      const Bulk bulk = std::move(bulks[i]);
      bulks.erase(bulks.begin() + static_cast<long>(i));
      land(bulk);
    } else {
      ++i;
    }
}
bool inShared(size_t offset, size_t bytes) { return offset + bytes <= current->asynchronous->seen.size(); }

bool now(CopyTime time) { return time == kEarly || (time == kAnyTime && (coin() & 1)); }

}  // namespace

uint32_t sharedAddress(const void* p) {
  const auto offset = static_cast<const unsigned char*>(p) - current->dyn;
  if (offset < 0 || !inShared(static_cast<size_t>(offset), 1)) fail("not an address of dynamic shared memory");
  return static_cast<uint32_t>(offset);
}

void initBarrier(uint64_t* barrier, uint32_t arrivals) {
  if (reinterpret_cast<uintptr_t>(barrier) % 8) fail("mbarrier: misaligned");
  *barrier = bits<uint64_t>(Barrier{0, arrivals & 0x7fff, arrivals & 0x7fff, 0, 0});
}
void arrive(uint64_t* barrier, uint32_t bytes) {
  published(barrier);
  Barrier b = read(barrier);
  if (b.missing == 0) fail("mbarrier: more arrivals than it was made for");
  b.missing--;
  b.bytes += static_cast<int32_t>(bytes);
  write(barrier, b);
}
void waitBarrier(uint64_t* barrier, uint32_t parity) {
  while (read(barrier).phase == parity) {
    landAll(barrier);
    if (read(barrier).phase == parity) yield("mbarrier wait");
  }
  observed(barrier);
}
void begin(Bulk bulk) {
  if (!inShared(sharedAddress(bulk.to), bulk.bytes.size())) fail("cp.async.bulk: past the end of shared memory");
  if (now(config.copies))
    land(bulk);
  else
    current->asynchronous->bulks.push_back(std::move(bulk));
}

namespace {

float value(bool pairs, const unsigned char* p) {
  if (pairs) {
    uint16_t upper;
    std::memcpy(&upper, p, 2);
    return __uint_as_float(uint32_t(upper) << 16);
  }
  uint32_t r;
  std::memcpy(&r, p, 4);
  return __uint_as_float(r & ~0x1fffu);  // the hardware reads the top 19 bits only
}

// B [depth, 64] as the descriptor says: bits 0-13 the address, 16-29 the distance of 16-byte blocks along K, 32-45 that of
// blocks of 8 columns, all over 16; 49-51 base offset and 62-63 swizzle must be 0, as nothing else is known here.
void readB(float (&B)[16][64], bool pairs, uint64_t b) {
  if (b & ~0x00003fff3fff3fffull) fail("wgmma: a descriptor with bits that are not known here");
  const size_t address = (b & 0x3fff) << 4, nextK = (b >> 16 & 0x3fff) << 4, nextColumns = (b >> 32 & 0x3fff) << 4;
  const int size = pairs ? 2 : 4, each = 16 / size;
  // what threads write may be seen before they publish it
  const unsigned char* shared = now(config.copies) ? current->dyn : current->asynchronous->seen.data();
  for (int k = 0; k < 2 * each; k++)
    for (int n = 0; n < 64; n++) {
      const size_t at = address + n / 8 * nextColumns + k / each * nextK + n % 8 * 16 + k % each * size;
      if (!inShared(at, size)) fail("wgmma: B reaches past the end of shared memory");
      B[k][n] = value(pairs, shared + at);
    }
}

// The i-th pending product of every lane: D += A B for the warp's 16 rows.
void make(void** threads, size_t i) {
  const auto of = [&](int lane) -> const Product& { return static_cast<Thread*>(threads[lane])->products[i]; };
  const bool pairs = of(0).pairs;
  float A[16][16], B[16][64];
  double D[16][64];
  readB(B, pairs, of(0).b);
  for (int l = 0; l < 32; l++) {
    const int g = l >> 2, t = l & 3;
    for (int q = 0; q < 4; q++) {
      const int row = g + (q & 1) * 8, half = q >> 1;
      const uint32_t r = of(l).a[q];
      if (pairs) {
        A[row][2 * t + 8 * half] = __uint_as_float(r << 16);
        A[row][2 * t + 8 * half + 1] = __uint_as_float(r & 0xffff0000u);
      } else {
        A[row][t + 4 * half] = __uint_as_float(r & ~0x1fffu);
      }
    }
    for (int j = 0; j < 8; j++)
      for (int e = 0; e < 4; e++) D[g + (e >> 1) * 8][j * 8 + 2 * t + (e & 1)] = of(l).add ? of(l).d[j][e] : 0;
  }
  for (int row = 0; row < 16; row++)
    for (int k = 0; k < (pairs ? 16 : 8); k++)
      for (int n = 0; n < 64; n++) D[row][n] += double(A[row][k]) * B[k][n];
  for (int l = 0; l < 32; l++)
    for (int j = 0; j < 8; j++)
      for (int e = 0; e < 4; e++) of(l).d[j][e] = truncated(D[(l >> 2) + (e >> 1) * 8][j * 8 + 2 * (l & 3) + (e & 1)]);
}
void forget(void** threads, size_t i) {
  for (int l = 0; l < 32; l++) {
    auto& products = static_cast<Thread*>(threads[l])->products;
    products.erase(products.begin() + static_cast<long>(i));
  }
}
void needFullWarp(unsigned live) {
  if (live != 0xffffffffu) fail("wgmma needs all lanes");
}

}  // namespace

void beginProducts() {
  collective("wgmma.fence", 0, 0xffffffffu, current, [](unsigned live, void**) { needFullWarp(live); });
  current->begins = true;
}
void product(bool pairs, float (&d)[8][4], const uint32_t (&a)[4], uint64_t b, bool add) {
  if (!current->begins) fail("wgmma.mma_async without wgmma.fence after registers were waited for");
  current->products.push_back({pairs, d, a, b, add, false});
  collective("wgmma.mma_async", 0, 0xffffffffu, current, [](unsigned live, void** threads) {
    needFullWarp(live);
    const size_t last = current->products.size() - 1;
    for (int l = 0; l < 32; l++)
      if (static_cast<Thread*>(threads[l])->products[last].b != current->products[last].b)
        fail("wgmma: lanes have different descriptors");
    auto& all = current->asynchronous->products[current->warp / 4];
    const size_t mine = current->asynchronous->begun[current->warp]++;
    if (mine == all.size()) all.push_back(current->products[last].b);
    if (all[mine] != current->products[last].b) fail("wgmma: warps of a warpgroup have different descriptors");
    if (now(config.products))
      while (!current->products.empty()) {
        make(threads, 0);
        forget(threads, 0);
      }
  });
}
void commitProducts() {
  for (Product& p : current->products) p.committed = true;
}
void waitProducts() {
  collective("wgmma.wait_group", 0, 0xffffffffu, current, [](unsigned live, void** threads) {
    needFullWarp(live);
    for (size_t i = 0; i < current->products.size();)
      if (current->products[i].committed) {
        make(threads, i);
        forget(threads, i);
      } else {
        ++i;
      }
  });
  current->begins = false;
}

std::string leftUndone(const Asynchronous& block) {
  if (!block.bulks.empty()) return "bulk copies in flight";
  for (int w = 0; w < 32; w++)
    if (block.begun[w] != block.products[w / 4].size()) return "products that some warps of a warpgroup did not begin";
  return "";
}

}  // namespace emulator
