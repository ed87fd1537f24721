// Reading arguments: each throws a JS error with code FEYNKAC_ARGUMENT that names what was expected.
#pragma once

#include <napi.h>

#include <string>

namespace feynkac::addon {

inline Napi::Error argumentError(Napi::Env env, const std::string& message) {
  Napi::Error error = Napi::TypeError::New(env, message);
  error.Set("code", "FEYNKAC_ARGUMENT");
  return error;
}

// A typed array's memory, with its length checked; null where the value is undefined or null and `optional`.
template <class T>
T* typedArray(const Napi::Value& value, napi_typedarray_type type, size_t length, const char* name,
              bool optional = false) {
  if (optional && (value.IsUndefined() || value.IsNull())) return nullptr;
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type)
    throw argumentError(value.Env(), std::string("expected a ") +
                                         (type == napi_float32_array   ? "Float32Array"
                                          : type == napi_float64_array ? "Float64Array"
                                                                       : "Int32Array") +
                                         " for " + name);
  const auto array = value.As<Napi::TypedArray>();
  if (array.ElementLength() != length)
    throw argumentError(value.Env(), std::string("expected ") + std::to_string(length) + " elements for " + name +
                                         " but received " + std::to_string(array.ElementLength()));
  return value.As<Napi::TypedArrayOf<T>>().Data();
}

inline float* floats(const Napi::Value& v, size_t n, const char* name, bool optional = false) {
  return typedArray<float>(v, napi_float32_array, n, name, optional);
}
inline double* doubles(const Napi::Value& v, size_t n, const char* name, bool optional = false) {
  return typedArray<double>(v, napi_float64_array, n, name, optional);
}
inline int32_t* ints(const Napi::Value& v, size_t n, const char* name) {
  return typedArray<int32_t>(v, napi_int32_array, n, name);
}

inline double number(const Napi::Object& o, const char* name) {
  const Napi::Value v = o.Get(name);
  if (!v.IsNumber()) throw argumentError(o.Env(), std::string("expected a number for ") + name);
  return v.As<Napi::Number>().DoubleValue();
}

inline int64_t integer(const Napi::Object& o, const char* name, int64_t min, int64_t max) {
  const double v = number(o, name);
  if (!(v >= double(min) && v <= double(max)) || v != double(static_cast<int64_t>(v)))
    throw argumentError(o.Env(), std::string("expected an integer from ") + std::to_string(min) + " to " +
                                     std::to_string(max) + " for " + name);
  return static_cast<int64_t>(v);
}

}  // namespace feynkac::addon
