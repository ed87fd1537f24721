#include "request.h"

namespace feynkac::addon {

ParticleKernels& hostKernels() {
  static const std::unique_ptr<ParticleKernels> instance(makeCpuParticleKernels());
  return *instance;
}

Request::Request(const Napi::CallbackInfo& info) {
  if (info.Length() < 1 || !info[0].IsObject()) throw wrong("request", "an object");
  object_ = info[0].As<Napi::Object>();
  keep(object_);
}

const DeviceView* Request::settle(const Napi::Value& value) {
  const DeviceView* view = deviceViewOf(value);
  const std::shared_ptr<Space> space = view != nullptr ? view->memory->space : nullptr;
  if (settled_ && space != space_)
    throw std::invalid_argument("the arrays of a request must all be on the host, or all of one space");
  settled_ = true;
  space_ = space;
  if (view != nullptr) held_.push_back(view->memory);
  return view;
}

RowView Request::rowsAt(const Napi::Value& value, const std::string& name, size_t rows) {
  size_t length, bytes;
  char* data;
  if (const DeviceView* view = settle(value)) {
    length = view->length;
    bytes = length * DeviceView::elementBytes(view->type);
    data = static_cast<char*>(view->data());
  } else {
    if (!value.IsTypedArray()) throw wrong(name, "a typed array");
    const auto array = value.As<Napi::TypedArray>();
    length = array.ElementLength();
    bytes = array.ByteLength();
    data = static_cast<char*>(array.ArrayBuffer().Data()) + array.ByteOffset();
  }
  rowLength(length, rows, name);
  return {data, bytes / rows};
}

Napi::Value Request::start(Work work, std::function<Napi::Value(Napi::Env)> result) const {
  return startJob(
      object_.Env(), kept_,
      [work = std::move(work), space = space_, held = held_](const Stop& stop) {
        if (!space) return work(hostKernels(), stop);
        const std::lock_guard<std::mutex> lock(space->mutex);
        work(*space->kernels, stop);
      },
      std::move(result));
}

}  // namespace feynkac::addon
