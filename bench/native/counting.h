// A backend that counts instead of computing: what the calls of a job ask of a device, per kind of call the number, the operations
// of products and the bytes of memory traffic, if every call reads its inputs and writes its outputs once.
#pragma once

#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "engine/network.h"

namespace feynkac::bench {

struct Cost {
  double calls = 0, operations = 0, bytes = 0;
};
using Costs = std::map<std::string, Cost>;

class Counting final : public Kernels {
 public:
  explicit Counting(Costs& costs) : costs_(costs) {}

  void* allocate(size_t) override {  // an address that is never touched
    static char somewhere[64];
    return somewhere;
  }
  void release(void*) override {}
  void upload(void*, const void*, size_t n) override { add("transfer", 0, double(n)); }
  void download(void* to, const void*, size_t n) override {
    std::memset(to, 0, n);
    add("transfer", 0, double(n));
  }
  void zero(void*, size_t n) override { add("elementwise", 0, double(n)); }
  void copy(void*, const void*, size_t n) override { add("elementwise", 0, 2.0 * double(n)); }

  size_t convPackedBytes(int kernel, int in, int out) override { return size_t(8) * kernel * kernel * in * out; }
#define FEYNKAC_COUNT(Op) \
  void run(const op::Op& o) override { count(o); }
  FEYNKAC_OPERATIONS(FEYNKAC_COUNT)
#undef FEYNKAC_COUNT

 private:
  struct Bytes {
    double total = 0;
    template <class T>
    void writes(T* p, size_t n, bool accumulate = false) {
      if (p != nullptr) total += (accumulate ? 2.0 : 1.0) * double(n * sizeof(T));
    }
    template <class T>
    void updates(T* p, size_t n) {
      writes(p, n, true);
    }
    template <class T>
    void reads(const T* p, size_t n) {
      if (p != nullptr) total += double(n * sizeof(T));
    }
    void packed(const void*, size_t floats) { total += 4.0 * double(floats); }
  };
  template <class Op>
  static double bytesOf(Op o) {
    Bytes bytes;
    o.arrays(bytes);
    return bytes.total;
  }
  static double bytesOf(const op::ConvPack& o) { return 12.0 * o.kernel * o.kernel * o.in * o.out; }
  static double bytesOf(const op::ConvPackForGrad&) { return 0; }  // counted with the rest
  static double bytesOf(const op::CopyChannels& o) {               // of the channels alone
    return (o.accumulate ? 12.0 : 8.0) * double(o.rows) * o.n;
  }
  template <class Op>
  void count(const Op& o) {
    if constexpr (op::hasProducts<Op>)
      add(Op::kKind, o.products(), bytesOf(o));
    else
      add(Op::kKind, 0, bytesOf(o));
  }
  void add(const char* kind, double operations, double bytes) {
    Cost& c = costs_[kind];
    c.calls += 1;
    c.operations += operations;
    c.bytes += bytes;
  }

  Costs& costs_;
};

// {"kind":[calls,operations,bytes],...}
inline std::string toJson(const Costs& costs) {
  std::string json = "{";
  for (const auto& [kind, c] : costs) {
    char numbers[128];
    std::snprintf(numbers, sizeof numbers, R"(%s"%s":[%.0f,%.6g,%.6g])", json.size() > 1 ? "," : "", kind.c_str(),
                  c.calls, c.operations, c.bytes);
    json += numbers;
  }
  return json + "}";
}

}  // namespace feynkac::bench
