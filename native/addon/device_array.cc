#include "device_array.h"

#include <stdexcept>

#include "addon.h"
#include "arguments.h"
#include "job.h"

namespace feynkac::addon {

DeviceMemory::DeviceMemory(std::shared_ptr<Space> of, size_t n) : space(std::move(of)) {
  const std::lock_guard<std::mutex> lock(space->mutex);
  data = space->kernels->allocate(n);
}

DeviceMemory::~DeviceMemory() {
  const std::lock_guard<std::mutex> lock(space->mutex);
  space->kernels->release(data);
}

size_t DeviceView::elementBytes(napi_typedarray_type type) {
  switch (type) {
    case napi_float64_array:
      return 8;
    case napi_float32_array:
    case napi_int32_array:
      return 4;
    default:
      return 1;
  }
}

namespace {

struct TypeName {
  napi_typedarray_type type;
  const char* name;
};
constexpr TypeName kTypes[] = {{napi_float32_array, "float32"},
                               {napi_float64_array, "float64"},
                               {napi_int32_array, "int32"},
                               {napi_uint8_array, "uint8"}};
constexpr double kMaxLength = 4503599627370496.0;

struct Classes {
  Napi::FunctionReference space, array;
};

// What a C++ constructor of a wrapped object is given.
template <class T>
T& given(const Napi::CallbackInfo& info) {
  if (!info[0].IsExternal()) throw argumentError(info.Env(), "use openSpace and allocate");
  return *info[0].As<Napi::External<T>>().Data();
}

class DeviceArray : public Napi::ObjectWrap<DeviceArray> {
 public:
  static constexpr napi_type_tag kTag = {0x6665796e6b616344ull, 0x6576696365410001ull};

  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "DeviceArray",
        {InstanceAccessor<&DeviceArray::Length>("length"), InstanceAccessor<&DeviceArray::Type>("type"),
         InstanceMethod<&DeviceArray::Subarray>("subarray"), InstanceMethod<&DeviceArray::Upload>("upload"),
         InstanceMethod<&DeviceArray::Download>("download"), InstanceMethod<&DeviceArray::Dispose>("dispose")});
  }
  static Napi::Value wrap(Napi::Env env, DeviceView view) {
    return env.GetInstanceData<Classes>()->array.New({Napi::External<DeviceView>::New(env, &view)});
  }

  explicit DeviceArray(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<DeviceArray>(info), view(given<DeviceView>(info)) {
    info.This().As<Napi::Object>().TypeTag(&kTag);
  }

  DeviceView view;

  // V8 hears of the memory, so that it collects what nobody disposes of.
  void report(Napi::Env env, int64_t bytes) {
    Napi::MemoryManagement::AdjustExternalMemory(env, bytes - reported_);
    reported_ = bytes;
  }

 private:
  Napi::Value Length(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), double(view.length)); }
  Napi::Value Type(const Napi::CallbackInfo& info) {
    for (const TypeName& t : kTypes)
      if (t.type == view.type) return Napi::String::New(info.Env(), t.name);
    return info.Env().Undefined();
  }

  Napi::Value Subarray(const Napi::CallbackInfo& info) {
    const auto at = [&](int i) {
      const double v = info[i].IsNumber() ? info[i].As<Napi::Number>().DoubleValue() : -1;
      if (!(v >= 0 && v <= double(view.length))) throw argumentError(info.Env(), "expected a part of the array");
      return static_cast<size_t>(v);
    };
    const size_t first = at(0), end = at(1);
    if (end < first) throw argumentError(info.Env(), "expected a part of the array");
    return wrap(info.Env(), {view.memory, view.type, view.first + first, end - first});
  }

  // A copy between the array and a typed array like it.
  template <class Copy>
  Napi::Value transfer(const Napi::CallbackInfo& info, const Copy& copy) {
    if (!view.memory) throw argumentError(info.Env(), "this array was disposed of");
    const Napi::Value host = info[0];
    if (!host.IsTypedArray() || host.As<Napi::TypedArray>().TypedArrayType() != view.type ||
        host.As<Napi::TypedArray>().ElementLength() != view.length)
      throw argumentError(info.Env(), "expected a typed array of the array's type and length");
    const auto array = host.As<Napi::TypedArray>();
    char* memory = static_cast<char*>(array.ArrayBuffer().Data()) + array.ByteOffset();
    return startJob(info.Env(), {host}, [v = view, memory, bytes = array.ByteLength(), copy](const Stop&) {
      Space& space = *v.memory->space;
      const std::lock_guard<std::mutex> lock(space.mutex);
      copy(*space.kernels, v.data(), memory, bytes);
    });
  }
  Napi::Value Upload(const Napi::CallbackInfo& info) {
    return transfer(info, [](ParticleKernels& k, void* device, void* host, size_t n) { k.upload(device, host, n); });
  }
  Napi::Value Download(const Napi::CallbackInfo& info) {
    return transfer(info, [](ParticleKernels& k, void* device, void* host, size_t n) { k.download(host, device, n); });
  }

  void Dispose(const Napi::CallbackInfo& info) {
    view.memory.reset();
    report(info.Env(), 0);
  }
  void Finalize(Napi::Env env) override { report(env, 0); }

  int64_t reported_ = 0;
};

class SpaceHandle : public Napi::ObjectWrap<SpaceHandle> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "Space",
        {InstanceMethod<&SpaceHandle::Allocate>("allocate"), InstanceMethod<&SpaceHandle::Dispose>("dispose")});
  }
  explicit SpaceHandle(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<SpaceHandle>(info), space_(given<std::shared_ptr<Space>>(info)) {}

 private:
  Napi::Value Allocate(const Napi::CallbackInfo& info) {
    const std::string name = info[0].IsString() ? info[0].As<Napi::String>().Utf8Value() : "";
    const double length = info[1].IsNumber() ? info[1].As<Napi::Number>().DoubleValue() : -1;
    if (!(length >= 0 && length <= kMaxLength)) throw argumentError(info.Env(), "expected a length");
    if (!space_) throw argumentError(info.Env(), "this space was disposed of");
    for (const TypeName& t : kTypes) {
      if (t.name != name) continue;
      const auto n = static_cast<size_t>(length);
      try {
        const size_t bytes = n * DeviceView::elementBytes(t.type);
        const Napi::Value array =
            DeviceArray::wrap(info.Env(), {std::make_shared<DeviceMemory>(space_, bytes), t.type, 0, n});
        DeviceArray::Unwrap(array.As<Napi::Object>())->report(info.Env(), static_cast<int64_t>(bytes));
        return array;
      } catch (const Napi::Error&) {
        throw;
      } catch (...) {
        throw currentError(info.Env());
      }
    }
    throw argumentError(info.Env(), "expected 'float32', 'float64', 'int32' or 'uint8' for the type");
  }

  void Dispose(const Napi::CallbackInfo&) { space_.reset(); }

  std::shared_ptr<Space> space_;
};

}  // namespace

const DeviceView* deviceViewOf(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&DeviceArray::kTag)) return nullptr;
  const DeviceView& view = DeviceArray::Unwrap(value.As<Napi::Object>())->view;
  if (!view.memory) throw std::invalid_argument("an array of a device was disposed of");
  return &view;
}

// openSpace(device): a job that resolves with a Space.
void initDeviceArrays(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(
      new Classes{Napi::Persistent(SpaceHandle::define(env)), Napi::Persistent(DeviceArray::define(env))});
  exports["openSpace"] = Napi::Function::New(env, [](const Napi::CallbackInfo& info) -> Napi::Value {
    const int device = info[0].IsNumber() ? info[0].As<Napi::Number>().Int32Value() : -1;
    const auto space = std::make_shared<std::shared_ptr<Space>>();
    return startJob(
        info.Env(), {}, [=](const Stop&) { *space = std::make_shared<Space>(device); },
        [=](Napi::Env e) -> Napi::Value {
          return e.GetInstanceData<Classes>()->space.New({Napi::External<std::shared_ptr<Space>>::New(e, space.get())});
        });
  });
}

}  // namespace feynkac::addon
