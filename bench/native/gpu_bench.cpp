// feynkac's side of the benchmark on a GPU (bench/gpu/run.mjs): reads a job per line from standard input and prints one JSON
// object per line. A job that fails, for want of memory or otherwise, is a line that says so, and the next one goes on.
#include <iostream>
#include <new>

#include "job.h"

using namespace feynkac::bench;

namespace {

std::string failure(const char* kind, const std::string& message) {
  return std::string(R"({"error":{"kind":")") + kind + R"(","message":)" + toJson(message) + "}}";
}

std::string answer(const std::string& line) {
  try {
    const Job job(line);
    return job.text("kind") == "network" ? networkJob(job) : particleJob(job);
  } catch (const std::bad_alloc&) {
    return failure("memory", "out of memory");
  } catch (const std::exception& error) {
    return failure("failure", error.what());
  }
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) std::cout << answer(line) << std::endl;
}
