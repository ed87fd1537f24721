// The process-wide thread pool of the CPU backend. Work is cut into `n` independent pieces whose results do not depend on which
// thread runs them, so every result is the same for any number of threads.
#pragma once

#include <cstddef>

namespace feynkac {

using Piece = void (*)(void* context, int piece);

// Runs piece(context, 0 .. n-1) on the pool and the calling thread and returns when all are done. If the pool is busy with
// another caller's work (several models in flight) the calling thread does all of them itself. An exception thrown by a piece
// is rethrown here after the others finished.
void runPieces(int n, void* context, Piece piece);

int threadCount();
void setThreadCount(int n);  // n >= 1; counted with the calling thread; default: the machine's cores

// Scratch memory of the calling thread, kept between calls, 64-byte aligned; `slot` 0..3 gives four that may be held at once.
float* scratch(int slot, size_t floats);

}  // namespace feynkac
