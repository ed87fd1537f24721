// The stream behind a backend's calls, for libraries that work beside them (ranks/device_sum.h).
#pragma once

namespace feynkac {

class Context;

// A cudaStream_t, whose device it makes the calling thread's; null where there is no context, as on the CPU.
void* streamOf(Context* context);

}  // namespace feynkac
