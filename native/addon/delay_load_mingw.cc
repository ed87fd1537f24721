// An addon of MinGW takes the imports of node.exe from the process itself, so that it also loads where Node has another name:
// Electron, a single executable. For MSVC cmake-js brings the same.
#if defined(__MINGW32__)
// clang-format off
#include <windows.h>
#include <delayimp.h>  // takes its types from windows.h
// clang-format on

#include <cstring>

static FARPROC WINAPI nodeOfThisProcess(unsigned event, DelayLoadInfo* info) {
  if (event != dliNotePreLoadLibrary || _stricmp(info->szDll, "node.exe") != 0) return nullptr;
  return reinterpret_cast<FARPROC>(GetModuleHandleA(nullptr));
}

extern "C" PfnDliHook __pfnDliNotifyHook2;
PfnDliHook __pfnDliNotifyHook2 = nodeOfThisProcess;
#endif
