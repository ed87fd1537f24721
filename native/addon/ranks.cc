// The communicator of this process at the border; lib/native/types.ts declares it.
#include "ranks.h"

#include <memory>
#include <string>
#include <vector>

#include "addon.h"
#include "job.h"
#include "ranks/communicator.h"
#include "request.h"

namespace feynkac::addon {
namespace {

using Napi::CallbackInfo;
using Napi::Value;

Communicator* world = nullptr;  // set by a job that ends before any other one is started

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

template <Value (*F)(const CallbackInfo&)>
Value guarded(const CallbackInfo& info) {
  try {
    return F(info);
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw currentError(info.Env());
  }
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
  return startJob(info.Env(), {info[0]},
                  [=, &all](const Stop&) { all.sum({values.data}, all.place().size, values.size); });
}

Value leave(const CallbackInfo& info) {
  return Napi::String::New(info.Env(), world ? world->leave(numberOf(info[0], "patience")) : "");
}

Value abort(const CallbackInfo& info) { ranks().abort(static_cast<int>(integerOf(info[0], "code", 255))); }

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
  exports["ranks"] = out;
}

}  // namespace feynkac::addon
