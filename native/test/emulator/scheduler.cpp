// The scheduler: the threads of a block run by strict priority until a barrier, a warp collective or __nanosleep stops
// them, so that each runs ahead of the others as far as the program allows; a few blocks are resident and interleaved.
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>

#include "emulator.h"
#include "fiber.h"

namespace emulator {
Thread* current = nullptr;
Config config;
namespace {
constexpr int kMaxThreads = 1024;
struct Block;
enum State { kReady, kAtBarrier, kInCollective, kSpinning, kReturned };
struct Fiber : Thread {
  void* sp = nullptr;
  char* stack = nullptr;
  size_t stackSize = 0;
  State st = kReady;
  int rank = 0;
  Block* block = nullptr;
  const char *what = "", *file = "";
  int line = 0;
  unsigned mask = 0;
  void *tsan = nullptr, *fake = nullptr;
};
struct Collective {
  unsigned mask, here;
  int line;
  const char* what;
  void (*fn)(unsigned, void**);
  void* args[32];
};
struct Warp {
  unsigned live = 0;
  std::vector<Collective> open;
  char hb[2] = {};
};
struct Block {
  uint3 idx{};
  int n = 0, live = 0, arrived = 0, exited = 0, gen = 0, pred = 0, predicateOut[2] = {};
  bool progress = false;
  const char *what = nullptr, *file = "";
  int line = 0;
  std::vector<Fiber> f;
  std::vector<Warp> w;
  std::vector<int> at;
  uint64_t ready[kMaxThreads / 64] = {};
  std::vector<void*> vars;
  size_t bytes = 0;
  unsigned char* dyn = nullptr;
  Asynchronous asynchronous;
  char hb[2] = {};
  int slot = 0;
};
Fiber host;
void (*kernel)(void*);
void* kernelArguments;
std::string error;
bool failed = false;
[[maybe_unused]] char launched, returned;
unsigned long long randomState = 1;
#if defined(EMULATOR_ASAN) || defined(EMULATOR_TSAN)
constexpr size_t kStack = 256 << 10;
#else
constexpr size_t kStack = 64 << 10;
#endif
constexpr size_t kPage = 16384;
struct Pool {
  char* stacks;
  int guarded;  // stacks that have their guard page: every one is two mappings, of which a process may have about 65,000
};
std::vector<Pool> pools;

unsigned random32() {
  randomState = randomState * 6364136223846793005ull + 1442695040888963407ull;
  return unsigned(randomState >> 33);
}
char* stackOf(int slot, int i) {
  while (int(pools.size()) <= slot) {
    char* p = static_cast<char*>(mmap(nullptr, kStack * kMaxThreads, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (p == MAP_FAILED) throw std::runtime_error("emulator: no memory for stacks");
    pools.push_back({p, 0});
  }
  Pool& pool = pools[size_t(slot)];
  for (; pool.guarded <= i; pool.guarded++) mprotect(pool.stacks + size_t(pool.guarded) * kStack, kPage, PROT_NONE);
  return pool.stacks + size_t(i) * kStack;
}
void setReady(Fiber& x) {
  x.st = kReady;
  x.block->ready[x.rank >> 6] |= 1ull << (x.rank & 63);
}

void jump(Fiber* from, Fiber* to) {  // from's context is saved, to's resumed

  current = to == &host ? nullptr : to;
#ifdef EMULATOR_TSAN
  __tsan_switch_to_fiber(to->tsan, 1 /* no_sync: an order of execution is not a happens-before */);
#endif
#ifdef EMULATOR_ASAN
  __sanitizer_start_switch_fiber(from->st == kReturned ? nullptr : &from->fake, to->stack, to->stackSize);
#endif
  emulator_switch(&from->sp, to->sp);
#ifdef EMULATOR_ASAN
  __sanitizer_finish_switch_fiber(from->fake, nullptr, nullptr);
#endif
}
Fiber* nextReady(Block& b) {
  for (int i = 0; i * 64 < b.n; i++)
    if (b.ready[i]) {
      int r = i * 64 + __builtin_ctzll(b.ready[i]);
      b.ready[i] &= b.ready[i] - 1;
      return &b.f[size_t(b.at[size_t(r)])];
    }
  return &host;
}
void dispatch(Fiber* self) {
  Fiber* to = nextReady(*self->block);
  if (to != self) jump(self, to);
}
void toHost(Fiber* self) { jump(self, &host); }

void tryComplete(Fiber* self, Warp& w, size_t k) {
  if (w.open[k].here != (w.open[k].mask & w.live)) return;
  Collective c = w.open[k];
  w.open.erase(w.open.begin() + long(k));
  if (c.fn) c.fn(c.here, c.args);
  Block& b = *self->block;  // no progress: a spin loop may hold collectives
  for (int l = 0; l < 32; l++)
    if (c.here >> l & 1) {
      Fiber& x = b.f[size_t(self->warp) * 32 + size_t(l)];
      if (x.st == kInCollective) setReady(x);
    }
}
void releaseBarrier(Block& b) {
  b.predicateOut[b.gen & 1] = b.pred;
  b.pred = 0;
  b.arrived = 0;
  b.what = nullptr;
  b.gen++;
  b.progress = true;
  bool published = true;
  for (auto& x : b.f)
    if (x.st == kAtBarrier) {
      setReady(x);
      published = published && x.published;
      x.published = false;
    }
  if (published) std::memcpy(b.asynchronous.seen.data(), b.dyn, b.asynchronous.seen.size());
}
void retire(Fiber* self) {
  Quiet q;
  Block& b = *self->block;
  Warp& w = b.w[size_t(self->warp)];
  self->st = kReturned;
  b.live--;
  b.exited++;
  b.progress = true;
  w.live &= ~(1u << self->lane);
  for (size_t k = w.open.size(); k-- > 0;) tryComplete(self, w, k);
  if (b.arrived) {
    self->st = kReady;
    fail("thread returned while others wait at a block barrier");
  }
  if (b.live && b.arrived == b.live) releaseBarrier(b);
  const std::string undone = b.live ? "" : leftUndone(b.asynchronous);
  if (!undone.empty()) {
    self->st = kReady;
    fail("block ended with " + undone);
  }
}
void entry() {
#ifdef EMULATOR_ASAN
  const void* bot;
  size_t sz;
  __sanitizer_finish_switch_fiber(nullptr, &bot, &sz);
  if (!host.stack) {
    host.stack = static_cast<char*>(const_cast<void*>(bot));
    host.stackSize = sz;
  }
#endif
  TSAN_ACQUIRE(&launched);
  kernel(kernelArguments);
  Fiber* self = static_cast<Fiber*>(current);
  if (!self->copies.empty()) fail("thread returned with cp.async copies in flight");
  if (!self->products.empty()) fail("thread returned with products of its warpgroup in flight");
  TSAN_RELEASE(&returned);
  retire(self);
  dispatch(self);
  std::abort();
}
std::string where(const Block& b) {
  char t[96];
  std::snprintf(t, sizeof t, " [block (%u,%u,%u)]", b.idx.x, b.idx.y, b.idx.z);
  return t;
}
std::string who(const Fiber& x) {
  char t[96];
  std::snprintf(t, sizeof t, "thread (%u,%u,%u)", x.tid.x, x.tid.y, x.tid.z);
  return t;
}
std::string census(const Block& b) {  // what every live thread waits for
  std::string s;
  std::vector<bool> seen(b.f.size());
  for (size_t i = 0; i < b.f.size(); i++)
    if (!seen[i] && b.f[i].st != kReturned) {
      int n = 0;
      const Fiber& x = b.f[i];
      for (size_t j = i; j < b.f.size(); j++)
        if (b.f[j].st == x.st && b.f[j].line == x.line && b.f[j].mask == x.mask) {
          seen[j] = true;
          n++;
        }
      char t[200];
      std::snprintf(t, sizeof t, "\n   %d thread(s) from (%u,%u,%u): %s line %d mask %08x%s", n, x.tid.x, x.tid.y,
                    x.tid.z, x.what, x.line, x.mask, x.st == kSpinning ? " (spinning)" : "");
      s += t;
    }
  return s + "\n   " + std::to_string(b.exited) + " returned";
}
void* allocateShared(Block& b, size_t n) {
  if (b.bytes + n > config.sharedBytes) throw std::runtime_error("block uses too much shared memory");
  void* p = nullptr;
#ifdef EMULATOR_TSAN  // pooled, shadow reset: free() without synchronisation would be a race
  static std::vector<char*> pool;
  while (int(pool.size()) <= b.slot) pool.push_back(static_cast<char*>(std::aligned_alloc(128, 512 << 10)));
  p = pool[size_t(b.slot)] + (b.bytes + 127) / 128 * 128;
  __tsan_java_alloc((unsigned long)p, (n + 7) & ~7ul);
#else
  if (posix_memalign(&p, 128, n)) std::abort();  // exact size: ASan redzones around every array
#endif
  b.bytes = (b.bytes + 127) / 128 * 128 + n;
  for (size_t i = 0; i < n; i++) static_cast<volatile unsigned char*>(p)[i] = 0xff;
  return p;
}
void startBlock(Block& b, int slot, uint3 idx, dim3 g, dim3 bd, size_t smem) {
  b.idx = idx;
  b.slot = slot;
  b.n = b.live = int(bd.x * bd.y * bd.z);
  b.dyn = nullptr;
  b.bytes = 0;
  if (smem) b.dyn = static_cast<unsigned char*>(allocateShared(b, smem));
  b.asynchronous.seen.assign(smem, 0xff);
  b.f = std::vector<Fiber>(size_t(b.n));
  b.w.assign(size_t(b.n + 31) / 32, Warp());
  b.at.resize(size_t(b.n));
  std::iota(b.at.begin(), b.at.end(), 0);
  if (config.order == kReverse) std::reverse(b.at.begin(), b.at.end());
  if (config.order == kRandom)
    for (int i = b.n - 1; i > 0; i--) std::swap(b.at[size_t(i)], b.at[random32() % unsigned(i + 1)]);
  for (int r = 0; r < b.n; r++) b.f[size_t(b.at[size_t(r)])].rank = r;
  for (int i = 0; i < b.n; i++) {
    Fiber& x = b.f[size_t(i)];
    x.block = &b;
    x.lin = i;
    x.lane = i % 32;
    x.warp = i / 32;
    x.dyn = b.dyn;
    x.asynchronous = &b.asynchronous;
    x.tid = {unsigned(i) % bd.x, unsigned(i) / bd.x % bd.y, unsigned(i) / (bd.x * bd.y)};
    x.bid = idx;
    x.bdim = bd;
    x.gdim = g;
    b.w[size_t(x.warp)].live |= 1u << x.lane;
    x.stack = stackOf(slot, i);
    x.stackSize = kStack;
#ifdef EMULATOR_ASAN
    __asan_unpoison_memory_region(x.stack + kPage, kStack - kPage);
#endif
#ifdef EMULATOR_TSAN
    x.tsan = __tsan_create_fiber(0);
    __tsan_java_alloc((unsigned long)x.stack + kPage, kStack - kPage);
#endif
    x.sp = initialStack(x.stack + kStack, entry);
    setReady(x);
  }
}
std::vector<std::unique_ptr<Block>> dead;  // TSan: freed only once the host has synchronised with every thread
#ifdef EMULATOR_TSAN
size_t liveIds = 0;
void bury(Block& b) {
  for (auto& x : b.f)
    if (x.tsan) {
      __tsan_destroy_fiber(x.tsan);
      x.tsan = nullptr;
      liveIds--;
    }
}
#endif
void endBlock(std::unique_ptr<Block> b) {
#ifdef EMULATOR_TSAN  // a reused thread id would hide races between blocks: keep ids as long as the runtime allows
  liveIds += b->f.size();
  dead.push_back(std::move(b));
  for (size_t i = 0; liveIds > 5000 && i < dead.size(); i++) bury(*dead[i]);
#else
  std::free(b->dyn);
  for (void* p : b->vars) std::free(p);
#endif
}
}  // namespace

void* allocateFilled(size_t bytes) {
  void* p = nullptr;
#ifdef EMULATOR_ASAN
  if (posix_memalign(&p, 16, bytes)) std::abort();
#else
  if (posix_memalign(&p, 256, (bytes + 255) / 256 * 256)) std::abort();
#endif
  for (size_t i = 0; i < bytes; i++) static_cast<volatile unsigned char*>(p)[i] = 0xff;
  return p;
}

void* sharedVariable(Slot& s) {
  Quiet q;
  static int ids = 0;
  if (!s.id) s.id = ++ids;
  Block& b = *static_cast<Fiber*>(current)->block;
  if (int(b.vars.size()) < s.id) b.vars.resize(size_t(s.id));
  void*& v = b.vars[size_t(s.id) - 1];
  if (!v) {
    if (b.bytes + s.size > config.sharedBytes) fail("block uses too much shared memory");
    v = allocateShared(b, s.size);
  }
  return v;
}
unsigned coin() { return random32() >> 7; }
void fail(const std::string& what) {
  Fiber* self = static_cast<Fiber*>(current);
  if (!self) throw std::runtime_error(what);
  error = what + " - " + who(*self) + where(*self->block);
  failed = true;
  toHost(self);
  std::abort();
}
int blockBarrier(const char* what, const char* file, int line, int pred) {
  Quiet q;
  Fiber* self = static_cast<Fiber*>(current);
  Block& b = *self->block;
  int g = b.gen & 1;
  if (b.exited)
    fail(std::string(what) + " line " + std::to_string(line) + " reached after " + std::to_string(b.exited) +
         " thread(s) returned");
  if (!b.what) {
    b.what = what;
    b.file = file;
    b.line = line;
  } else if (b.line != line || (b.file != file && std::strcmp(b.file, file) != 0))
    fail("divergent " + std::string(what) + ": " + file + ":" + std::to_string(line) + " against line " +
         std::to_string(b.line));
  for (auto& c : b.w[size_t(self->warp)].open)
    if (c.here >> self->lane & 1) fail("internal: lane in two places");
  TSAN_RELEASE(&b.hb[g]);
  b.pred += pred;
  self->what = what;
  self->line = line;
  self->mask = 0;
  self->st = kAtBarrier;
  if (++b.arrived == b.live) {
    releaseBarrier(b);
    if (config.resident > 1)
      toHost(self);
    else
      dispatch(self);
  } else
    dispatch(self);
  TSAN_ACQUIRE(&b.hb[g]);
  return b.predicateOut[g];
}
void collective(const char* what, int line, unsigned mask, void* arg, void (*fn)(unsigned, void**)) {
  Quiet q;
  Fiber* self = static_cast<Fiber*>(current);
  Warp& w = self->block->w[size_t(self->warp)];
  unsigned bit = 1u << self->lane;
  if (!(mask & bit))
    fail(std::string(what) + " line " + std::to_string(line) + ": the mask leaves out the calling lane");
  size_t k = 0;
  for (; k < w.open.size(); k++) {
    Collective& c = w.open[k];
    if (c.mask == mask && c.line == line && (c.what == what || !std::strcmp(c.what, what))) break;
    if (c.mask & mask)
      fail("lanes of one warp disagree: " + std::string(what) + " line " + std::to_string(line) + " against " + c.what +
           " line " + std::to_string(c.line));
  }
  if (k == w.open.size()) w.open.push_back({mask, 0, line, what, fn, {}});
  w.open[k].here |= bit;
  w.open[k].args[self->lane] = arg;
  self->what = what;
  self->line = line;
  self->mask = mask;
  self->st = kInCollective;
  tryComplete(self, w, k);
  dispatch(self);  // strict priority: even the last lane to arrive yields to a higher one
}
void syncWarp(unsigned mask, int line) {
  Fiber* self = static_cast<Fiber*>(current);
  Warp& w = self->block->w[size_t(self->warp)];
  (void)w;
  TSAN_RELEASE(&w.hb[0]);
  collective("__syncwarp", line, mask, nullptr, nullptr);
  TSAN_ACQUIRE(&w.hb[0]);
}
void progressed() { static_cast<Fiber*>(current)->block->progress = true; }
void published([[maybe_unused]] void* p) { TSAN_RELEASE(p); }
void observed([[maybe_unused]] void* p) { TSAN_ACQUIRE(p); }
void yield(const char* what) {
  Fiber* self = static_cast<Fiber*>(current);
  self->st = kSpinning;
  self->what = what;
  self->line = 0;
  self->mask = 0;
  dispatch(self);
}

void launch(dim3 g, dim3 bd, size_t smem, void (*fn)(void*), void* arg) {
  if (current) fail("launch from inside a kernel");
  unsigned long long nb = 1ull * g.x * g.y * g.z;
  unsigned nt = bd.x * bd.y * bd.z;
  if (!nb || !nt || nt > kMaxThreads || bd.z > 64 || g.x > 0x7fffffffu || g.y > 65535 || g.z > 65535)
    throw std::runtime_error("launch: invalid configuration");
  if (smem > config.sharedBytes) throw std::runtime_error("launch: too much dynamic shared memory");
  kernel = fn;
  kernelArguments = arg;
  failed = false;
  host.stack = nullptr;
  randomState = config.seed * 2654435761ull + 88172645463325252ull;
#ifdef EMULATOR_TSAN
  static bool once = false;
  if (!once) {
    once = true;
    __tsan_java_init(8, 1ul << 46);
  }  // whole address space: only used to reset shadow
  host.tsan = __tsan_get_current_fiber();
#endif
  TSAN_RELEASE(&launched);
  std::vector<std::unique_ptr<Block>> res;
  unsigned long long started = 0;
  unsigned idle = 0;
  std::vector<int> slots;
  for (int s = std::max(1, config.resident); s-- > 0;) slots.push_back(s);
  unsigned long long off = config.order == kRandom ? random32() % nb : 0;  // block order: forward, backward or rotated
  auto cleanup = [&] {
    for (auto& b : res) endBlock(std::move(b));
  };  // abandoned threads are never joined
  while (started < nb || !res.empty()) {
    while (started < nb && !slots.empty()) {
      unsigned long long i = config.order == kReverse ? nb - 1 - started : (started + off) % nb;
      res.emplace_back(new Block);
      int s = slots.back();
      slots.pop_back();
      startBlock(*res.back(), s, {unsigned(i % g.x), unsigned(i / g.x % g.y), unsigned(i / g.x / g.y)}, g, bd, smem);
      started++;
    }
    size_t pick = res.size() > 1 ? random32() % res.size() : 0;
    Block& b = *res[pick];
    for (auto& x : b.f)
      if (x.st == kSpinning) setReady(x);
    b.progress = false;
    Fiber* to = nextReady(b);
    if (to == &host) {
      std::string m = "deadlock" + where(b) + census(b);
      cleanup();
      throw std::runtime_error(m);
    }
    jump(&host, to);
    if (failed) {
      cleanup();
      throw std::runtime_error(error);
    }
    if (!b.live) {
      slots.push_back(b.slot);
      endBlock(std::move(res[pick]));
      res.erase(res.begin() + long(pick));
      idle = 0;
    } else if (b.progress)
      idle = 0;
    else if (++idle > 1000u * res.size()) {
      std::string m = "livelock: only spinning threads";
      for (auto& x : res) m += where(*x) + census(*x);
      cleanup();
      throw std::runtime_error(m);
    }
  }
  TSAN_ACQUIRE(&returned);
#ifdef EMULATOR_TSAN
  for (auto& b : dead) bury(*b);
#endif
  dead.clear();
}
}  // namespace emulator
