// Locks of files that the system gives up when their holder ends, however it ends; Node has none.
#include <sys/file.h>

#include <cerrno>

#include "addon.h"
#include "arguments.h"

namespace feynkac::addon {

// lockFile(descriptor): 'locked' until the descriptor is closed, 'busy' where another one has it (of this process too), or
// 'unsupported' by the file system.
void initFileLock(Napi::Env env, Napi::Object exports) {
  exports["lockFile"] = Napi::Function::New(env, [](const Napi::CallbackInfo& info) -> Napi::Value {
    if (!info[0].IsNumber()) throw argumentError(info.Env(), "expected a file descriptor");
    const int descriptor = info[0].As<Napi::Number>().Int32Value();
    int failed;
    do failed = flock(descriptor, LOCK_EX | LOCK_NB);
    while (failed != 0 && errno == EINTR);
    return Napi::String::New(info.Env(), failed == 0 ? "locked" : errno == EWOULDBLOCK ? "busy" : "unsupported");
  });
}

}  // namespace feynkac::addon
