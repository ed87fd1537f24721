// Prototypes and values as NVIDIA/nccl's src/nccl.h.in has them; they have not changed since version 2.7, which brought ncclSend.
#include "ranks/nccl_api.h"

#ifndef _WIN32
#include <dlfcn.h>
#endif

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "kernels/common/errors.h"

namespace feynkac {
namespace {

constexpr int kBytes = 0;             // ncclInt8
constexpr int kFewestVersion = 2700;  // coded as NCCL_VERSION did until 2.8

// 2.8 and before: 1000 major + 100 minor + patch; later 10000 major + 100 minor + patch
std::string versionText(int code) {
  const int major = code < 10000 ? code / 1000 : code / 10000;
  const int minor = code < 10000 ? code % 1000 / 100 : code % 10000 / 100;
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(code % 100);
}

}  // namespace

#ifdef _WIN32

std::shared_ptr<NcclApi> NcclApi::load(const std::string& library) {
  throw DeviceError(library + ": GPUs exchange by NCCL on Linux alone");
}

#else

std::shared_ptr<NcclApi> NcclApi::load(const std::string& library) {
  void* found = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed: it keeps threads
  if (!found) throw DeviceError(dlerror());
  auto api = std::make_shared<NcclApi>();
  const auto bind = [&](auto& function, const char* name) {
    void* address = dlsym(found, name);
    if (!address) throw DeviceError(library + " has no " + name);
    function = reinterpret_cast<std::remove_reference_t<decltype(function)> >(address);
  };
  bind(api->getVersion_, "ncclGetVersion");
  bind(api->getUniqueId_, "ncclGetUniqueId");
  bind(api->commInitRank_, "ncclCommInitRank");
  bind(api->commAbort_, "ncclCommAbort");
  bind(api->getErrorString_, "ncclGetErrorString");
  bind(api->groupStart_, "ncclGroupStart");
  bind(api->groupEnd_, "ncclGroupEnd");
  bind(api->send_, "ncclSend");
  bind(api->recv_, "ncclRecv");
  int code = 0;
  api->check(api->getVersion_(&code));
  api->version = versionText(code);
  if (code < kFewestVersion) throw DeviceError(library + " is NCCL " + api->version + ": 2.7 or later is needed");
  return api;
}

#endif

void NcclApi::check(int code) const {
  if (code != 0) throw std::runtime_error(std::string("NCCL: ") + getErrorString_(code));
}

NcclApi::Id NcclApi::newId() const {
  UniqueId made = {};
  check(getUniqueId_(&made));
  Id id;
  std::copy(std::begin(made.internal), std::end(made.internal), id.begin());
  return id;
}

NcclApi::Group::Group(std::shared_ptr<NcclApi> api, const Id& id, int size, int rank) : api_(std::move(api)) {
  UniqueId unique;
  std::copy(id.begin(), id.end(), std::begin(unique.internal));
  api_->check(api_->commInitRank_(&comm_, size, unique, rank));
}

// Does not wait for the others, who may be gone.
NcclApi::Group::~Group() { api_->commAbort_(comm_); }

void NcclApi::Group::begin() { api_->check(api_->groupStart_()); }
void NcclApi::Group::end() { api_->check(api_->groupEnd_()); }

void NcclApi::Group::send(const void* from, size_t bytes, int to, Stream stream) {
  api_->check(api_->send_(from, bytes, kBytes, to, comm_, stream));
}

void NcclApi::Group::receive(void* to, size_t bytes, int from, Stream stream) {
  api_->check(api_->recv_(to, bytes, kBytes, from, comm_, stream));
}

}  // namespace feynkac
