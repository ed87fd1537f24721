// Arguments of particle operations: typed arrays, or arrays in the memory of a device.
#pragma once

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "device_array.h"
#include "job.h"

namespace feynkac::addon {

inline constexpr size_t kAnyLength = static_cast<size_t>(-1);

template <class T>
struct Span {
  T* data;
  size_t size;
};
// Rows of any element type: bytes of one row.
struct RowView {
  char* data;
  size_t bytes;
};

inline std::invalid_argument wrong(const std::string& name, const std::string& expected) {
  return std::invalid_argument("expected " + expected + " for " + name);
}

template <class T>
constexpr const char* arrayName() {
  if (std::is_same_v<T, float>) return "a Float32Array";
  if (std::is_same_v<T, double>) return "a Float64Array";
  if (std::is_same_v<T, int32_t>) return "an Int32Array";
  return "a Uint8Array";
}

template <class T>
constexpr napi_typedarray_type arrayType() {
  if (std::is_same_v<T, float>) return napi_float32_array;
  if (std::is_same_v<T, double>) return napi_float64_array;
  if (std::is_same_v<T, int32_t>) return napi_int32_array;
  return napi_uint8_array;
}

// An array that is on the host whatever the others are.
template <class T>
Span<T> hostArray(const Napi::Value& value, const std::string& name, size_t length = kAnyLength) {
  std::string expected = arrayName<T>();
  if (length != kAnyLength) expected += " of length " + std::to_string(length);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != arrayType<T>())
    throw wrong(name, expected);
  auto array = value.As<Napi::TypedArrayOf<T>>();
  if (length != kAnyLength && array.ElementLength() != length) throw wrong(name, expected);
  return {array.Data(), array.ElementLength()};
}

template <class F>
auto listOf(const Napi::Value& value, const std::string& name, const F& element) {
  if (!value.IsArray()) throw wrong(name, "an array");
  auto list = value.As<Napi::Array>();
  std::vector<decltype(element(Napi::Value(), std::string()))> out;
  for (uint32_t i = 0; i < list.Length(); ++i)
    out.push_back(element(list.Get(i), name + "[" + std::to_string(i) + "]"));
  return out;
}

inline double numberOf(const Napi::Value& value, const std::string& name) {
  if (!value.IsNumber()) throw wrong(name, "a number");
  return value.As<Napi::Number>().DoubleValue();
}

inline uint64_t integerOf(const Napi::Value& value, const std::string& name, double max = 9007199254740991.0) {
  const double v = numberOf(value, name);
  if (!(v >= 0 && v <= max) || v != std::floor(v)) throw wrong(name, "a non-negative integer");
  return static_cast<uint64_t>(v);
}

inline uint32_t wordOf(const Napi::Value& value, const std::string& name) {
  return static_cast<uint32_t>(integerOf(value, name, 4294967295.0));
}

inline std::string textOf(const Napi::Value& value, const std::string& name) {
  if (!value.IsString()) throw wrong(name, "a string");
  return value.As<Napi::String>().Utf8Value();
}

inline size_t rowLength(size_t size, size_t rows, const std::string& name) {
  if (rows == 0 || size == 0 || size % rows != 0)
    throw wrong(name, "whole rows for " + std::to_string(rows) + " particles");
  return size / rows;
}

// The CPU's kernels.
ParticleKernels& hostKernels();

// One request. Its arrays are all on the host or all in one Space, whose kernels then do the work.
class Request {
 public:
  static constexpr size_t kFewValues = 1 << 13;  // a tenth of a millisecond

  explicit Request(const Napi::CallbackInfo& info);

  Napi::Value operator[](const char* name) const { return object_.Get(name); }
  template <class T>
  Span<T> array(const char* name, size_t length = kAnyLength) {
    return arrayAt<T>(object_.Get(name), name, length);
  }
  template <class T>
  Span<T> arrayAt(const Napi::Value& value, const std::string& name, size_t length = kAnyLength) {
    const DeviceView* view = settle(value);
    if (view == nullptr) return hostArray<T>(value, name, length);
    if (view->type != arrayType<T>() || (length != kAnyLength && view->length != length))
      throw wrong(name, std::string(arrayName<T>()) + "'s like on the device" +
                            (length == kAnyLength ? "" : " of length " + std::to_string(length)));
    return {static_cast<T*>(view->data()), view->length};
  }
  RowView rowsAt(const Napi::Value& value, const std::string& name, size_t rows);

  // The job, once all arrays have been read.
  using Work = std::function<void(ParticleKernels&, const Stop&)>;
  using Result = std::function<Napi::Value(Napi::Env)>;
  Napi::Value start(Work work, Result result = nullptr) const;
  // The same of work that goes through so many values, about an exponential each: on the host few of them take less time than
  // a thread does to begin, and are done at once.
  template <class W>
  Napi::Value startOrDo(size_t values, const W& work, const Result& result = nullptr) const {
    if (space_ || values > kFewValues) return start(work, result);
    work(hostKernels(), Stop());
    return doneJob(object_.Env(), result ? result(object_.Env()) : object_.Env().Undefined());
  }
  // Another value that has to live as long as the job.
  void keep(const Napi::Value& value) { kept_.push_back(value); }

 private:
  // The view of a device's array, null for others; throws where an earlier array lies elsewhere.
  const DeviceView* settle(const Napi::Value& value);

  Napi::Object object_;
  std::vector<Napi::Value> kept_;
  bool settled_ = false;
  std::shared_ptr<Space> space_;
  std::vector<std::shared_ptr<DeviceMemory>> held_;
};

}  // namespace feynkac::addon
