// A library like an NCCL whose processes are threads of this one, for nccl_test.cpp: what is sent is copied when the group of calls
// ends, and the receiver waits for it. It gives errors for calls that NCCL would not take.
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

namespace {

struct Group {
  int size = 0, joined = 0;
  std::map<std::pair<int, int>, std::deque<std::vector<char>>> mail;  // from, to
};
struct Comm {
  Group* group;
  int rank;
};
struct Call {
  bool sends;
  const void* from;
  void* to;
  size_t bytes;
  int peer;
  Comm* comm;
  void* stream;
};

std::mutex mutex;
std::condition_variable changed;
std::map<int, Group> groups;
int ids = 0;
thread_local std::vector<Call> calls;
thread_local int depth = 0;

// Set by the test: what runs around a wait, so that others can work meanwhile, and what brings a stream to its end.
void (*beforeWait)() = nullptr;
void (*afterWait)() = nullptr;
void (*synchronise)(void*) = nullptr;

template <class Ready>
void waitFor(std::unique_lock<std::mutex>& lock, const Ready& ready) {
  if (ready()) return;
  lock.unlock();
  if (beforeWait) beforeWait();
  lock.lock();
  changed.wait(lock, ready);
  lock.unlock();
  if (afterWait) afterWait();
  lock.lock();
}

}  // namespace

#define NCCL extern "C" __attribute__((visibility("default")))
constexpr int kInvalidArgument = 4, kInvalidUsage = 5;
struct UniqueId {
  char internal[128];
};

NCCL void mockHooks(void (*before)(), void (*after)(), void (*sync)(void*)) {
  beforeWait = before;
  afterWait = after;
  synchronise = sync;
}
NCCL int ncclGetVersion(int* version) { return *version = 22703, 0; }
NCCL const char* ncclGetErrorString(int code) { return code == kInvalidUsage ? "invalid usage" : "mock error"; }
NCCL int ncclGetUniqueId(UniqueId* id) {
  const std::lock_guard<std::mutex> lock(mutex);
  std::memset(id->internal, 0x5a, sizeof(id->internal));
  std::memcpy(id->internal + 64, &++ids, sizeof(ids));
  return 0;
}
NCCL int ncclCommInitRank(void** out, int size, UniqueId id, int rank) {
  int number = 0;
  std::memcpy(&number, id.internal + 64, sizeof(number));
  std::unique_lock<std::mutex> lock(mutex);
  if (number < 1 || number > ids || id.internal[0] != 0x5a || id.internal[127] != 0x5a) return kInvalidArgument;
  Group& group = groups[number];
  if (group.size != 0 && group.size != size) return kInvalidArgument;
  group.size = size;
  ++group.joined;
  changed.notify_all();
  waitFor(lock, [&] { return group.joined == size; });
  *out = new Comm{&group, rank};
  return 0;
}
NCCL int ncclCommAbort(void* comm) {
  delete static_cast<Comm*>(comm);
  return 0;
}
NCCL int ncclGroupStart() { return ++depth, 0; }
NCCL int ncclSend(const void* from, size_t count, int type, int peer, void* comm, void* stream) {
  auto* const c = static_cast<Comm*>(comm);
  if (type != 0 || count == 0 || peer < 0 || peer >= c->group->size || depth == 0) return kInvalidArgument;
  calls.push_back({true, from, nullptr, count, peer, c, stream});
  return 0;
}
NCCL int ncclRecv(void* to, size_t count, int type, int peer, void* comm, void* stream) {
  auto* const c = static_cast<Comm*>(comm);
  if (type != 0 || count == 0 || peer < 0 || peer >= c->group->size || depth == 0) return kInvalidArgument;
  calls.push_back({false, nullptr, to, count, peer, c, stream});
  return 0;
}
NCCL int ncclGroupEnd() {
  if (depth == 0) return kInvalidUsage;
  if (--depth > 0) return 0;
  const std::vector<Call> all = std::move(calls);
  calls.clear();
  if (synchronise)
    for (const Call& call : all) synchronise(call.stream);
  std::unique_lock<std::mutex> lock(mutex);
  for (const Call& call : all) {
    if (!call.sends) continue;
    const char* const from = static_cast<const char*>(call.from);
    call.comm->group->mail[{call.comm->rank, call.peer}].emplace_back(from, from + call.bytes);
  }
  changed.notify_all();
  for (const Call& call : all) {
    if (call.sends) continue;
    auto& box = call.comm->group->mail[{call.peer, call.comm->rank}];
    waitFor(lock, [&] { return !box.empty(); });
    const std::vector<char> letter = std::move(box.front());
    box.pop_front();
    if (letter.size() != call.bytes) return kInvalidUsage;
    std::memcpy(call.to, letter.data(), letter.size());
  }
  return 0;
}
