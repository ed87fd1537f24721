/* The MPI library's own sum over ranks, beside which bench/ranks.mjs puts ours: `allreduce LIBRARY FLOATS...`. Bound at run time as
 * native/ranks/mpi_api.cpp does; its MPI_FLOAT and MPI_SUM are those of mpi.h of MPICH and of Open MPI. Prints the best milliseconds. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void* library;
static void* call(const char* name) {
  void* found = dlsym(library, name);
  if (!found) fprintf(stderr, "no %s\n", name), exit(1);
  return found;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* Handles are numbers in MPICH and addresses in Open MPI. */
#define BENCH(name, Handle)                                                                                        \
  static void name(Handle world, Handle type, Handle op, void* inPlace, int argc, char** argv) {                   \
    int (*init)(int*, char***) = (int (*)(int*, char***))call("MPI_Init");                                         \
    int (*finalize)(void) = (int (*)(void))call("MPI_Finalize");                                                   \
    int (*rankOf)(Handle, int*) = (int (*)(Handle, int*))call("MPI_Comm_rank");                                    \
    int (*barrier)(Handle) = (int (*)(Handle))call("MPI_Barrier");                                                 \
    int (*sum)(const void*, void*, int, Handle, Handle, Handle) =                                                  \
        (int (*)(const void*, void*, int, Handle, Handle, Handle))call("MPI_Allreduce");                           \
    int rank = 0;                                                                                                  \
    init(NULL, NULL);                                                                                              \
    rankOf(world, &rank);                                                                                          \
    for (int i = 2; i < argc; ++i) {                                                                               \
      const int n = atoi(argv[i]);                                                                                 \
      float* values = calloc(n, sizeof(float));                                                                    \
      double best = 1e9;                                                                                           \
      for (int k = 0; k < 7; ++k) {                                                                                \
        barrier(world);                                                                                            \
        const double began = now();                                                                                \
        sum(inPlace, values, n, type, op, world);                                                                  \
        const double took = now() - began;                                                                         \
        if (took < best) best = took;                                                                              \
      }                                                                                                            \
      if (rank == 0) printf("%.6f\n", 1e3 * best);                                                                 \
      free(values);                                                                                                \
    }                                                                                                              \
    finalize();                                                                                                    \
  }
BENCH(withNumbers, int)
BENCH(withAddresses, void*)

int main(int argc, char** argv) {
  library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL) : NULL;
  if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
  if (dlsym(library, "ompi_mpi_comm_world"))
    withAddresses(call("ompi_mpi_comm_world"), call("ompi_mpi_float"), call("ompi_mpi_op_sum"), (void*)1, argc, argv);
  else
    withNumbers(0x44000000, 0x4c00040a, 0x58000003, (void*)-1, argc, argv);
  return 0;
}
