// The communicator of this process at the border; lib/native/types.ts declares it.
#include "ranks.h"

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "addon.h"
#include "job.h"
#include "ranks/communicator.h"
#include "ranks/device_sum.h"
#include "request.h"

namespace feynkac::addon {
namespace {

using Napi::CallbackInfo;
using Napi::Value;

Communicator* world = nullptr;  // set by a job that ends before any other one is started

// Sums of gradients by NCCL, of the one device that this process trains on; opened at the first.
struct Direct {
  bool tried = false;
  std::unique_ptr<DeviceSum> sum;
  std::string reason;  // why there is none
};
Direct& direct() {
  static auto* const only = new Direct();  // NCCL's threads live as long as the process
  return *only;
}

std::string ncclLibrary() {
  const char* given = std::getenv("FEYNKAC_NCCL");
  return given && *given ? given : "libnccl.so.2";
}

DeviceSum* directSum(Communicator& all, Kernels& kernels) {
  Direct& d = direct();
  if (kernels.device() < 0) return nullptr;
  if (d.tried) return d.sum.get();
  d.tried = true;
  const Place& place = all.place();
  const HostLinks links = {place.rank,
                           place.size,
                           place.localRank,
                           place.localSize,
                           [&all](const void* own, void* out, size_t bytes) {
                             all.allGather(own, out, std::vector<size_t>(all.place().size, bytes));
                           },
                           [&all](const std::vector<float*>& nodes, size_t leaves, size_t n) {
                             all.sum(nodes, leaves, n, all.place().localSize);
                           }};
  d.sum = DeviceSum::open(ncclLibrary(), links, kernels, d.reason);
  return d.sum.get();
}

Communicator& ranks() {
  if (!world) throw std::invalid_argument("this process is not one of several");
  return *world;
}

Span<char> bytesOf(const Value& value, const char* name) {
  if (!value.IsTypedArray()) throw wrong(name, "a typed array");
  const auto array = value.As<Napi::TypedArray>();
  return {static_cast<char*>(array.ArrayBuffer().Data()) + array.ByteOffset(), array.ByteLength()};
}

// One for each rank, `bytes` in all.
std::vector<size_t> countsOf(const Value& value, const char* name, size_t bytes) {
  const auto counts = listOf(value, name, [](const Value& v, const std::string& n) { return integerOf(v, n); });
  size_t total = 0;
  for (const size_t count : counts) total += count;
  if (counts.size() != size_t(ranks().place().size) || total != bytes)
    throw wrong(name, std::to_string(ranks().place().size) + " counts of " + std::to_string(bytes) + " bytes in all");
  return {counts.begin(), counts.end()};
}

Value open(const CallbackInfo& info) {
  const auto libraries =
      listOf(info[0], "libraries", [](const Value& v, const std::string& name) { return textOf(v, name); });
  const bool checks = info[1].ToBoolean();
  if (world) throw std::invalid_argument("the ranks are open");
  return startJob(
      info.Env(), {}, [=](const Stop&) { world = new Communicator(libraries, checks); },
      [](Napi::Env env) -> Value {
        const Place& place = ranks().place();
        auto out = Napi::Object::New(env);
        out["rank"] = Napi::Number::New(env, place.rank);
        out["size"] = Napi::Number::New(env, place.size);
        out["localRank"] = Napi::Number::New(env, place.localRank);
        out["localSize"] = Napi::Number::New(env, place.localSize);
        out["library"] = Napi::String::New(env, place.library);
        out["version"] = Napi::String::New(env, place.version);
        out["interface"] = Napi::String::New(env, place.interface);
        return out;
      });
}

Value describe(const CallbackInfo& info) {
  const auto api = MpiApi::load(textOf(info[0], "library"), /*stays=*/false);
  auto out = Napi::Object::New(info.Env());
  out["version"] = Napi::String::New(info.Env(), api->version);
  out["interface"] = Napi::String::New(info.Env(), api->interface);
  return out;
}

Value barrier(const CallbackInfo& info) {
  Communicator& all = ranks();
  return startJob(info.Env(), {}, [&all](const Stop&) { all.barrier(); });
}

Value allGather(const CallbackInfo& info) {
  Communicator& all = ranks();
  const auto own = bytesOf(info[0], "own"), out = bytesOf(info[1], "out");
  const auto counts = countsOf(info[2], "counts", out.size);
  if (own.size != counts[all.place().rank]) throw wrong("own", "this rank's count of bytes");
  return startJob(info.Env(), {info[0], info[1]},
                  [=, &all](const Stop&) { all.allGather(own.data, out.data, counts); });
}

Value allToAll(const CallbackInfo& info) {
  Communicator& all = ranks();
  const auto in = bytesOf(info[0], "values"), out = bytesOf(info[2], "out");
  const auto inCounts = countsOf(info[1], "counts", in.size), outCounts = countsOf(info[3], "outCounts", out.size);
  return startJob(info.Env(), {info[0], info[2]},
                  [=, &all](const Stop&) { all.allToAll(in.data, inCounts, out.data, outCounts); });
}

Value sum(const CallbackInfo& info) {
  Communicator& all = ranks();
  const auto values = hostArray<float>(info[0], "values");
  const int stride = info[1].IsUndefined() ? 1 : static_cast<int>(integerOf(info[1], "stride", 1 << 20));
  if (stride < 1 || all.place().size % stride != 0) throw wrong("stride", "a divisor of the number of ranks");
  return startJob(info.Env(), {info[0]},
                  [=, &all](const Stop&) { all.sum({values.data}, all.place().size / stride, values.size, stride); });
}

Value leave(const CallbackInfo& info) {
  return Napi::String::New(info.Env(), world ? world->leave(numberOf(info[0], "patience")) : "");
}

Value abort(const CallbackInfo& info) { ranks().abort(static_cast<int>(integerOf(info[0], "code", 255))); }

// The way that gradients on GPUs took between ranks: NCCL's version, or why they went by way of the host; undefined before the first.
Value exchange(const CallbackInfo& info) {
  const Direct& d = direct();
  auto out = Napi::Object::New(info.Env());
  if (!d.tried) return info.Env().Undefined();
  if (d.sum)
    out["nccl"] = Napi::String::New(info.Env(), d.sum->version());
  else
    out["reason"] = Napi::String::New(info.Env(), d.reason);
  return out;
}

Value describeNccl(const CallbackInfo& info) {
  return Napi::String::New(info.Env(), NcclApi::load(ncclLibrary())->version);
}

Value secondsWaiting(const CallbackInfo& info) {
  return Napi::Number::New(info.Env(), world ? world->secondsWaiting() : 0);
}

}  // namespace

Share shareOf(const Napi::Object& request) {
  Share share;
  if (!request.Get("shared").ToBoolean()) return share;
  Communicator& all = ranks();
  share.rank = all.place().rank;
  share.size = all.place().size;
  share.sum = [&all](const std::vector<float*>& nodes, size_t leaves, size_t n) { all.sum(nodes, leaves, n); };
  share.part = atOnce(share.part, share.size / all.place().localSize);
  share.onDevice = [&all](Kernels& kernels) { return directSum(all, kernels); };
  share.gather = [&all](const double* own, double* out, const std::vector<size_t>& counts) {
    std::vector<size_t> bytes;
    bytes.reserve(counts.size());
    for (const size_t count : counts) bytes.push_back(count * sizeof(double));
    all.allGather(own, out, bytes);
  };
  return share;
}

void initRanks(Napi::Env env, Napi::Object exports) {
  auto out = Napi::Object::New(env);
  const auto add = [&](const char* name, auto function) { out[name] = Napi::Function::New(env, function, name); };
  add("open", guarded<open>);
  add("describe", guarded<describe>);
  add("barrier", guarded<barrier>);
  add("allGather", guarded<allGather>);
  add("allToAll", guarded<allToAll>);
  add("sum", guarded<sum>);
  add("leave", guarded<leave>);
  add("abort", guarded<abort>);
  add("secondsWaiting", guarded<secondsWaiting>);
  add("exchange", guarded<exchange>);
  add("describeNccl", guarded<describeNccl>);
  exports["ranks"] = out;
}

}  // namespace feynkac::addon
