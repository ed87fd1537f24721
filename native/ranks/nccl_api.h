// NCCL as a mover of bytes between the GPUs of a machine, bound at run time as MPI is (mpi_api.h): neither its header nor its library
// is needed to build this.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string>

namespace feynkac {

// Errors of NCCL are std::runtime_error with its own words.
class NcclApi {
 public:
  using Id = std::array<char, 128>;
  using Stream = void*;  // a cudaStream_t

  // Throws DeviceError where there is none, or one without point-to-point calls (before 2.7).
  static std::shared_ptr<NcclApi> load(const std::string& library);
  std::string version;  // after load

  // The id of a new group: one process makes it and gives it to all.
  Id newId() const;

  // Processes with a GPU each, numbered from 0. All of them construct it at the same time, with the device of the calling thread.
  class Group {
   public:
    Group(std::shared_ptr<NcclApi> api, const Id& id, int size, int rank);
    ~Group();
    Group(const Group&) = delete;
    Group& operator=(const Group&) = delete;

    // What is sent and received between begin() and end() goes at the same time, in the order of the stream. For every send() there is
    // a receive() of as many bytes; between two processes they are matched in order. A process may send to itself.
    void begin();
    void send(const void* from, size_t bytes, int to, Stream stream);
    void receive(void* to, size_t bytes, int from, Stream stream);
    void end();

   private:
    std::shared_ptr<NcclApi> api_;
    void* comm_ = nullptr;
  };

 private:
  // An ncclUniqueId goes by value
  struct UniqueId {
    char internal[128];
  };
  void check(int code) const;

  int (*getVersion_)(int*) = nullptr;
  int (*getUniqueId_)(UniqueId*) = nullptr;
  int (*commInitRank_)(void**, int, UniqueId, int) = nullptr;
  int (*commAbort_)(void*) = nullptr;
  const char* (*getErrorString_)(int) = nullptr;
  int (*groupStart_)() = nullptr;
  int (*groupEnd_)() = nullptr;
  int (*send_)(const void*, size_t, int, int, void*, Stream) = nullptr;
  int (*recv_)(void*, size_t, int, int, void*, Stream) = nullptr;
};

}  // namespace feynkac
