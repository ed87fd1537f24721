#include "ranks/mpi_api.h"

#ifndef _WIN32
#include <dlfcn.h>
#endif

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "kernels/common/errors.h"

namespace feynkac {

#ifdef _WIN32

std::unique_ptr<MpiApi> MpiApi::load(const std::string& library, bool) {
  throw DeviceError(library + ": several processes share work on Linux and macOS alone");
}

#else

namespace {

// What a binary interface fixes, beside the type of its handles.
template <class Handle>
struct Constants {
  const char* name;
  Handle world, byte, errorsReturn, infoNull;
  void *statusIgnore, *inPlace;
  int funneled, typeShared;
};

void* symbol(void* library, const char* name) {
  void* found = dlsym(library, name);
  if (!found) throw DeviceError(std::string("the MPI library has no ") + name);
  return found;
}

template <class Function>
void bind(Function*& to, void* library, const char* name) {
  to = reinterpret_cast<Function*>(symbol(library, name));
}

void* address(intptr_t n) { return reinterpret_cast<void*>(n); }  // NOLINT(performance-no-int-to-ptr): so is the ABI

// MPICH's, which Intel MPI, MVAPICH and Cray's abi module share (mpich.org, ABI Compatibility Initiative).
Constants<int> mpichConstants() {
  return {"mpich", 0x44000000, 0x4c00010d, 0x54000001, 0x1c000000, address(1), address(-1), 1, 1};
}

// Open MPI's since version 3: handles are the addresses of its objects.
Constants<void*> openMpiConstants(void* library) {
  return {"openmpi",
          symbol(library, "ompi_mpi_comm_world"),
          symbol(library, "ompi_mpi_byte"),
          symbol(library, "ompi_mpi_errors_return"),
          symbol(library, "ompi_mpi_info_null"),
          nullptr,
          address(1),
          1,
          0};
}

// The standard's own (MPI 5.0, chapter 20): numbers in pointers.
Constants<void*> standardConstants() {
  return {"standard", address(0x101), address(0x247), address(0x143), address(0x130), nullptr, address(1), 1024, 221};
}

// The first line, up to a comma.
std::string versionOf(void* library) {
  int (*call)(char*, int*);
  bind(call, library, "MPI_Get_library_version");
  std::vector<char> text(8192 + 1);  // the most that any interface writes
  int length = 0;
  call(text.data(), &length);
  std::string version(text.data());
  version.resize(std::min(version.size(), version.find_first_of("\n,")));
  for (char& c : version)
    if (c == '\t') c = ' ';
  return version;
}

template <class Handle>
class Bound final : public MpiApi {
 public:
  Bound(void* library, const Constants<Handle>& constants) : c_(constants) {
    interface = c_.name;
    version = versionOf(library);
    bind(initThread_, library, "MPI_Init_thread");
    bind(finalize_, library, "MPI_Finalize");
    bind(abort_, library, "MPI_Abort");
    bind(rank_, library, "MPI_Comm_rank");
    bind(size_, library, "MPI_Comm_size");
    bind(dup_, library, "MPI_Comm_dup");
    bind(splitType_, library, "MPI_Comm_split_type");
    bind(free_, library, "MPI_Comm_free");
    bind(setErrhandler_, library, "MPI_Comm_set_errhandler");
    bind(errorString_, library, "MPI_Error_string");
    bind(ibarrier_, library, "MPI_Ibarrier");
    bind(ibcast_, library, "MPI_Ibcast");
    bind(iallgatherv_, library, "MPI_Iallgatherv");
    bind(ialltoallv_, library, "MPI_Ialltoallv");
    bind(test_, library, "MPI_Test");
  }

  void open() override {
    int provided = 0;
    check(initThread_(nullptr, nullptr, c_.funneled, &provided));
    if (provided < c_.funneled) throw DeviceError(version + " was built for programs without threads");
    check(dup_(c_.world, &comm_));
    check(dup_(c_.world, &leaving_));
    for (const Handle comm : {comm_, leaving_}) check(setErrhandler_(comm, c_.errorsReturn));
    check(rank_(comm_, &rank));
    check(size_(comm_, &size));
    Handle node{};
    check(splitType_(comm_, c_.typeShared, rank, c_.infoNull, &node));
    check(rank_(node, &localRank));
    check(size_(node, &localSize));
    check(free_(&node));
  }
  void finalize() override { check(finalize_()); }
  void abort(int code) override { abort_(c_.world, code); }

  std::unique_ptr<Pending> barrier(bool leaving) override {
    return start([&](Handle* r) { return ibarrier_(leaving ? leaving_ : comm_, r); });
  }
  std::unique_ptr<Pending> broadcast(void* data, int bytes, int root) override {
    return start([&](Handle* r) { return ibcast_(data, bytes, c_.byte, root, comm_, r); });
  }
  std::unique_ptr<Pending> allGather(const void* own, int bytes, void* out, const int* counts,
                                     const int* offsets) override {
    const void* from = own ? own : c_.inPlace;
    return start(
        [&](Handle* r) { return iallgatherv_(from, bytes, c_.byte, out, counts, offsets, c_.byte, comm_, r); });
  }
  std::unique_ptr<Pending> allToAll(const void* in, const int* inCounts, const int* inOffsets, void* out,
                                    const int* outCounts, const int* outOffsets) override {
    return start([&](Handle* r) {
      return ialltoallv_(in, inCounts, inOffsets, c_.byte, out, outCounts, outOffsets, c_.byte, comm_, r);
    });
  }

 private:
  class Request final : public Pending {
   public:
    explicit Request(const Bound& owner) : owner_(owner) {}
    bool done() override {
      int flag = 0;
      owner_.check(owner_.test_(&handle, &flag, owner_.c_.statusIgnore));
      return flag != 0;
    }
    Handle handle{};

   private:
    const Bound& owner_;
  };

  template <class Start>
  std::unique_ptr<Pending> start(const Start& call) {
    auto request = std::make_unique<Request>(*this);
    check(call(&request->handle));
    return request;
  }

  void check(int code) const {
    if (code == 0) return;
    char text[8192] = {};
    int length = 0;
    errorString_(code, text, &length);
    throw std::runtime_error(std::string("MPI: ") + text);
  }

  const Constants<Handle> c_;
  Handle comm_{}, leaving_{};
  int (*initThread_)(int*, char***, int, int*);
  int (*finalize_)();
  int (*abort_)(Handle, int);
  int (*rank_)(Handle, int*);
  int (*size_)(Handle, int*);
  int (*dup_)(Handle, Handle*);
  int (*splitType_)(Handle, int, int, Handle, Handle*);
  int (*free_)(Handle*);
  int (*setErrhandler_)(Handle, Handle);
  int (*errorString_)(int, char*, int*);
  int (*ibarrier_)(Handle, Handle*);
  int (*ibcast_)(void*, int, Handle, int, Handle, Handle*);
  int (*iallgatherv_)(const void*, int, Handle, void*, const int*, const int*, Handle, Handle, Handle*);
  int (*ialltoallv_)(const void*, const int*, const int*, Handle, void*, const int*, const int*, Handle, Handle,
                     Handle*);
  int (*test_)(Handle*, int*, void*);
};

// 1 where a library has the standard's interface alone.
int standardOf(void* library) {
  const auto call = reinterpret_cast<int (*)(int*, int*)>(dlsym(library, "MPI_Abi_get_version"));
  int major = -1, minor = -1;
  if (call) call(&major, &minor);
  return major;
}

}  // namespace

std::unique_ptr<MpiApi> MpiApi::load(const std::string& library, bool stays) {
  void* found = dlopen(library.c_str(), RTLD_NOW | (stays ? RTLD_GLOBAL : RTLD_LOCAL));  // never closed: none can be
  if (!found) throw DeviceError(dlerror());
  if (dlsym(found, "ompi_mpi_comm_world")) return std::make_unique<Bound<void*> >(found, openMpiConstants(found));
  if (standardOf(found) == 1) return std::make_unique<Bound<void*> >(found, standardConstants());
  const std::string version = versionOf(found);
  for (const char* known : {"MPICH", "Intel", "MVAPICH"})
    if (version.find(known) != std::string::npos) return std::make_unique<Bound<int> >(found, mpichConstants());
  throw DeviceError(library + ": an MPI of an unknown binary interface: " + version);
}

#endif

}  // namespace feynkac
