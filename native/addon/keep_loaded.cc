// The addon stays in the process once it was there: Node unloads it with its last environment, but the threads of the pool
// go on. On Linux the linker says so (link.cmake).
#if defined(_WIN32)
#include <windows.h>
#elif defined(__APPLE__)
#include <dlfcn.h>
#endif

#include "addon.h"

namespace feynkac::addon {

void keepLoaded() {
#if defined(_WIN32)
  HMODULE self;
  GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                     reinterpret_cast<const char*>(&keepLoaded), &self);
#elif defined(__APPLE__)
  Dl_info self;
  if (dladdr(reinterpret_cast<void*>(&keepLoaded), &self))
    dlopen(self.dli_fname, RTLD_LAZY | RTLD_NODELETE | RTLD_NOLOAD);
#endif
}

}  // namespace feynkac::addon
