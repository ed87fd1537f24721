// Locks of files that the system gives up when their holder ends, however it ends; Node has none.
#if defined(_WIN32)
#include <windows.h>
#else
#include <sys/file.h>

#include <cerrno>
#endif

#include "addon.h"
#include "arguments.h"

namespace feynkac::addon {
namespace {

#if defined(_WIN32)
const char* lock(int descriptor) {
  // Descriptors belong to the C runtime that is linked into node.exe, not to this file's.
  using ToHandle = HANDLE (*)(int);
  const auto toHandle = reinterpret_cast<ToHandle>(
      reinterpret_cast<void*>(GetProcAddress(GetModuleHandleA(nullptr), "uv_get_osfhandle")));
  const HANDLE file = toHandle == nullptr ? INVALID_HANDLE_VALUE : toHandle(descriptor);
  if (file == INVALID_HANDLE_VALUE) return "unsupported";
  OVERLAPPED where = {};
  where.OffsetHigh = 0x7fffffff;  // behind any content: others must not read what is locked here
  if (LockFileEx(file, LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &where)) return "locked";
  return GetLastError() == ERROR_LOCK_VIOLATION ? "busy" : "unsupported";
}
#else
const char* lock(int descriptor) {
  int failed;
  do failed = flock(descriptor, LOCK_EX | LOCK_NB);
  while (failed != 0 && errno == EINTR);
  return failed == 0 ? "locked" : errno == EWOULDBLOCK ? "busy" : "unsupported";
}
#endif

}  // namespace

// lockFile(descriptor): 'locked' until the descriptor is closed, 'busy' where another one has it (of this process too), or
// 'unsupported' by the file system.
void initFileLock(Napi::Env env, Napi::Object exports) {
  exports["lockFile"] = Napi::Function::New(env, [](const Napi::CallbackInfo& info) -> Napi::Value {
    if (!info[0].IsNumber()) throw argumentError(info.Env(), "expected a file descriptor");
    return Napi::String::New(info.Env(), lock(info[0].As<Napi::Number>().Int32Value()));
  });
}

}  // namespace feynkac::addon
