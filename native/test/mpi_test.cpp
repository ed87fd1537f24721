// The table of MPI's binary interfaces, against a mock of each that knows its handles.
#include "check.h"
#include "kernels/common/errors.h"
#include "ranks/communicator.h"

using namespace feynkac;

namespace {

void testInterface(const std::string& library, const std::string& interface, const std::string& version) {
  auto* const all = new Communicator({"libnone-of-this-name.so", library}, /*checks=*/true);
  const Place& place = all->place();
  CHECK(place.interface == interface && place.version == version, "%s: %s, %s", library.c_str(),
        place.interface.c_str(), place.version.c_str());
  CHECK(place.rank == 0 && place.size == 1 && place.localSize == 1 && place.library == library, "its place");
  all->barrier();
  std::vector<double> own = {1, 2, 3}, out(3, NAN);
  all->allGather(own.data(), out.data(), {3 * sizeof(double)});
  CHECK(out == own, "allGather");
  std::fill(out.begin(), out.end(), NAN);
  all->allToAll(own.data(), {2 * sizeof(double)}, out.data(), {2 * sizeof(double)});
  CHECK(out[0] == 1 && out[1] == 2 && std::isnan(out[2]), "allToAll");
  all->broadcast(own.data(), sizeof(double), 0);
  CHECK(all->leave(1).empty(), "leaves");
  try {
    all->barrier();
    CHECK(false, "a barrier after the end");
  } catch (const std::runtime_error&) {
  }
}

void testNone() {
  try {
    const Communicator none({"libnone-of-this-name.so"}, false);
    CHECK(false, "a library that is not there");
  } catch (const DeviceError& e) {
    CHECK(std::string(e.what()).find("libnone-of-this-name.so") != std::string::npos, "%s", e.what());
  }
}

}  // namespace

int main(int, char** words) {
  const auto mock = [&](const char* path) { return test::besideProgram(words[0], path); };
  testInterface(mock(MOCK_MPICH), "mpich", "MPICH Version: 9.9");
  testInterface(mock(MOCK_OPENMPI), "openmpi", "Open MPI v9.9");
  testInterface(mock(MOCK_STANDARD), "standard", "mock of the standard");
  testNone();
  return test::report("mpi");
}
