// A library like an MPI of one process, for mpi_test.cpp: each function returns 0 where it was given the handles that its interface
// has (INTERFACE: 0 MPICH's, 1 Open MPI's, 2 the standard's), else 99. Operations are done when they are first tested.
#include <cstdint>
#include <cstring>

#if INTERFACE == 0
using Handle = int;
static const Handle world = 0x44000000, byte = 0x4c00010d, errorsReturn = 0x54000001, infoNull = 0x1c000000;
static void *const inPlace = reinterpret_cast<void*>(-1), *const statusIgnore = reinterpret_cast<void*>(1);
static const int funneled = 1, shared = 1;
static const char* const version = "MPICH Version:\t9.9\nMPICH Device: none";
#else
using Handle = void*;
#if INTERFACE == 1
extern "C" {
__attribute__((visibility("default"))) char ompi_mpi_comm_world, ompi_mpi_byte, ompi_mpi_errors_return,
    ompi_mpi_info_null;
}
static void *const world = &ompi_mpi_comm_world, *const byte = &ompi_mpi_byte,
                   *const errorsReturn = &ompi_mpi_errors_return, *const infoNull = &ompi_mpi_info_null;
static const int funneled = 1, shared = 0;
static const char* const version = "Open MPI v9.9, package: mock";
#else
// NOLINTNEXTLINE(performance-no-int-to-ptr): handles of the standard's interface are numbers
static void* number(intptr_t n) { return reinterpret_cast<void*>(n); }
static void *const world = number(0x101), *const byte = number(0x247), *const errorsReturn = number(0x143),
                   *const infoNull = number(0x130);
static const int funneled = 1024, shared = 221;
static const char* const version = "mock of the standard";
#endif
static void *const inPlace = reinterpret_cast<void*>(1), *const statusIgnore = nullptr;
#endif

// NOLINTNEXTLINE(performance-no-int-to-ptr): a pointer in two of the interfaces
static Handle duplicate(int n) { return (Handle)(intptr_t)(0x7000 + n); }
static bool isOurs(Handle comm) { return comm == duplicate(1) || comm == duplicate(2); }
static int duplicates = 0, tests = 0;
static int result(bool right) { return right ? 0 : 99; }

#define MPI extern "C" __attribute__((visibility("default"))) int
#if INTERFACE == 2
MPI MPI_Abi_get_version(int* major, int* minor) { return *major = 1, *minor = 0; }
#endif
MPI MPI_Get_library_version(char* text, int* length) {
  *length = static_cast<int>(std::strlen(version));
  std::memcpy(text, version, *length + size_t{1});
  return 0;
}
MPI MPI_Init_thread(int*, char***, int required, int* provided) {
  *provided = required;
  return result(required == funneled);
}
MPI MPI_Finalize() { return 0; }
MPI MPI_Abort(Handle, int) { return 0; }
MPI MPI_Comm_rank(Handle, int* rank) { return *rank = 0; }
MPI MPI_Comm_size(Handle, int* size) { return *size = 1, 0; }
MPI MPI_Comm_dup(Handle comm, Handle* out) { return *out = duplicate(++duplicates), result(comm == world); }
MPI MPI_Comm_split_type(Handle comm, int type, int, Handle info, Handle* out) {
  *out = duplicate(3);
  return result(isOurs(comm) && type == shared && info == infoNull);
}
MPI MPI_Comm_free(Handle* comm) { return result(*comm == duplicate(3)); }
MPI MPI_Comm_set_errhandler(Handle comm, Handle handler) { return result(isOurs(comm) && handler == errorsReturn); }
MPI MPI_Error_string(int, char* text, int* length) {
  constexpr char kText[] = "a wrong handle";
  std::memcpy(text, kText, sizeof kText);
  return *length = sizeof kText - 1, 0;
}
MPI MPI_Ibarrier(Handle comm, Handle*) {
  static int calls = 0;  // the first is of work, the second of leaving: each has a communicator of its own
  return result(comm == duplicate(++calls));
}
MPI MPI_Ibcast(void*, int, Handle type, int, Handle comm, Handle*) { return result(isOurs(comm) && type == byte); }
MPI MPI_Iallgatherv(const void* in, int n, Handle type, void* out, const int* counts, const int* offsets,
                    Handle outType, Handle comm, Handle*) {
  if (in != inPlace) std::memcpy(static_cast<char*>(out) + offsets[0], in, static_cast<size_t>(n));
  return result(isOurs(comm) && type == byte && outType == byte && (in == inPlace || n == counts[0]));
}
MPI MPI_Ialltoallv(const void* in, const int* inCounts, const int* inOffsets, Handle type, void* out,
                   const int* outCounts, const int* outOffsets, Handle outType, Handle comm, Handle*) {
  std::memcpy(static_cast<char*>(out) + outOffsets[0], static_cast<const char*>(in) + inOffsets[0],
              static_cast<size_t>(inCounts[0]));
  return result(isOurs(comm) && type == byte && outType == byte && inCounts[0] == outCounts[0]);
}
MPI MPI_Test(Handle*, int* flag, void* status) { return *flag = ++tests % 3 == 0, result(status == statusIgnore); }
