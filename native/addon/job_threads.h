// Threads for jobs. Each job has one to itself at once, however many there are, for one may wait for another; a thread that has
// nothing to do rests for a while, ready for the next job, and then ends.
#pragma once

#include <functional>

namespace feynkac::addon {

// Runs `work`, which does not throw, on a thread of its own. Throws std::system_error where none can be started.
void runOnThread(std::function<void()> work);

}  // namespace feynkac::addon
