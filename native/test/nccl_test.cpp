// Sums of gradients on devices over machines and their GPUs: the bits of the tree over all ranks. The library is a mock; the devices are
// the CPU's memory, and CUDA's where there is one (emulated: .ci/native-tests).
//
//   nccl_test [library]: whether a library, such as libnccl.so.2, moves bytes on the first GPU
#include <dlfcn.h>

#include "kernels/cuda/stream.h"
#include "network_cases.h"
#include "ranks/device_sum.h"
#include "together.h"

using namespace feynkac;
using namespace feynkac::test;

namespace {

thread_local std::unique_lock<Turn>* turnOfThread = nullptr;
thread_local Kernels* kernelsOfThread = nullptr;

std::string mockLibrary;

void hookMock() {
  void* mock = dlopen(mockLibrary.c_str(), RTLD_NOW | RTLD_LOCAL);
  CHECK(mock != nullptr, "%s", dlerror());
  const auto hooks = reinterpret_cast<void (*)(void (*)(), void (*)(), void (*)(void*))>(dlsym(mock, "mockHooks"));
  hooks([] { turnOfThread->unlock(); }, [] { turnOfThread->lock(); },
        [](void* stream) {
          CHECK((stream != nullptr) == (kernelsOfThread->device() >= 0), "the stream of the device");
          float none = 0;
          void* const memory = kernelsOfThread->allocate(sizeof(none));
          kernelsOfThread->download(&none, memory, sizeof(none));  // waits for the stream
          kernelsOfThread->release(memory);
        });
}

std::vector<float> leaf(size_t k, size_t n) { return randomVector(n, static_cast<uint32_t>(7 * k + 1)); }

// The tree over leaves of a node.
std::vector<float> treeOf(const TreeNode& node, size_t n) {
  std::vector<TreeNode> leaves;
  std::vector<std::vector<float>> values;
  for (size_t k = node.first; k < node.last; ++k) {
    leaves.push_back({k - node.first, k - node.first + 1});
    values.push_back(leaf(k, n));
  }
  std::vector<float> out(n);
  treeSum(out.data(), leaves, n, [&](size_t p) { return values[p].data(); });
  return out;
}

void testSum(const std::string& where, int size, int local, size_t leaves, size_t n) {
  const std::vector<float> expected = treeOf({0, leaves}, n);
  Together all(size, local);
  all.each([&](int rank, std::unique_lock<Turn>& turn) {
    turnOfThread = &turn;
    const auto kernels = newKernels();
    kernelsOfThread = kernels.get();
    std::string reason;
    const auto sum = DeviceSum::open(mockLibrary, all.linksOf(rank, turn), *kernels, reason);
    CHECK(sum != nullptr && sum->version() == "2.27.3", "%s: %s", where.c_str(), reason.c_str());
    std::vector<TreeNode> nodes;
    nodesOf({0, leaves}, rank * leaves / size, (rank + 1) * leaves / size, nodes);
    std::vector<float*> own;
    const size_t bytes = n * sizeof(float);
    for (const TreeNode& node : nodes) {
      own.push_back(static_cast<float*>(kernels->allocate(bytes)));
      kernels->upload(own.back(), treeOf(node, n).data(), bytes);
    }
    void* const room = kernels->allocate(sum->room(leaves, n));
    sum->sum(*kernels, own, leaves, n, room);
    std::vector<float> out(n, NAN);
    kernels->download(out.data(), own.back(), bytes);
    CHECK(out == expected, "%s: rank %d of %d, %d on a machine, %zu leaves of %zu", where.c_str(), rank, size, local,
          leaves, n);
    for (float* node : own) kernels->release(node);
    kernels->release(room);
    return std::vector<double>();
  });
}

// Training steps whose gradients never touch the host but between machines, and leave while the last passes go on. From the second
// micro-batch on a device replays recorded calls.
void testTraining(const std::string& where, const NetworkConfig& config, Kind kind, int size, int local) {
  const auto train = [&](const Share& share) {
    constexpr int kBatch = 6;
    Network network(config, {}, newKernels);
    network.initialise(3);
    const auto x0 = randomVector(kBatch * network.sampleSize(), 5, 0.5f);
    std::vector<double> losses(kBatch, NAN), sigmas(kBatch);
    for (int k = 1; k <= 2; ++k) {
      TrainStep step = sharedStep(kind, k, x0, losses, sigmas, share);
      step.microBatch = 1;
      network.train(step, nullptr, Stop());
    }
    std::vector<float> weights(network.parameters().torchSize());
    network.read(Slot::kParams, weights.data());
    losses.insert(losses.end(), weights.begin(), weights.end());
    return losses;
  };
  const auto alone = train(Share());
  Together all(size, local);
  const auto together = all.each([&](int rank, std::unique_lock<Turn>& turn) {
    turnOfThread = &turn;
    std::unique_ptr<DeviceSum> sum;
    Share share = all.shareOf(rank, turn);
    share.sum = nullptr;
    share.onDevice = [&](Kernels& kernels) {
      if (sum) return sum.get();
      kernelsOfThread = &kernels;
      std::string reason;
      sum = DeviceSum::open(mockLibrary, all.linksOf(rank, turn), kernels, reason);
      return sum.get();
    };
    return train(share);
  });
  for (int r = 0; r < size; ++r)
    CHECK(together[r] == alone, "%s %s: training, rank %d of %d", where.c_str(), kKindNames[static_cast<int>(kind)], r,
          size);
}

void testRefusals() {
  const auto reasonOf = [](int size, int local, const std::string& library) {
    Together all(size, local);
    std::string said;
    all.each([&](int rank, std::unique_lock<Turn>& turn) {
      turnOfThread = &turn;
      const auto kernels = newKernels();
      kernelsOfThread = kernels.get();
      std::string reason;
      CHECK(DeviceSum::open(library, all.linksOf(rank, turn), *kernels, reason) == nullptr, "opens");
      said = reason;
      return std::vector<double>();
    });
    return said;
  };
  CHECK(reasonOf(2, 1, mockLibrary) == "each machine has one rank", "one GPU on each");
  CHECK(reasonOf(3, 2, mockLibrary).find("machine by machine") != std::string::npos, "an uneven machine");
  CHECK(reasonOf(2, 2, "libnone.so").find("libnone.so") != std::string::npos, "no library");
}

void testAll(const std::string& where) {
  for (const auto& [size, local] : {std::pair{2, 2}, {4, 2}, {4, 4}, {6, 3}, {6, 2}})
    for (const size_t leaves : {size_t(size), size_t(size) + 3, size_t(4 * size)})
      testSum(where, size, local, leaves, 301);
  testSum(where, 4, 2, 5, 3);                         // some have no slice
  testSum(where, 2, 2, 2, (size_t{1} << 22) + 1000);  // two segments
  const ResidualMlpConfig vectors = {3, 16, 2, 0, 1};
  for (const Kind kind : {Kind::kDenoiser, Kind::kResidual}) testTraining(where, vectors, kind, 2, 2);
  testTraining(where, vectors, Kind::kDot, 4, 2);
  if (where == "cpu" || full()) testTraining(where, unet(1, 4, 4, {1, 2}, 1, {2}, 0, 0), Kind::kDot, 2, 2);
  testTraining(where, diffusers(true, DiffusersUNetConfig::kResnet, 1, 4), Kind::kDenoiser, 2, 2);
}

// What the first GPU sends itself arrives. Two processes cannot share one by NCCL.
int testLibrary(const std::string& library) {
  constexpr size_t kCount = 1000003, kBytes = kCount * sizeof(float);
  const auto api = NcclApi::load(library);
  const auto kernels = onCuda();
  const NcclApi::Stream stream = streamOf(kernels->context());
  NcclApi::Group group(api, api->newId(), 1, 0);
  const std::vector<float> sent = randomVector(kCount, 3);
  void *const from = kernels->allocate(kBytes), *const to = kernels->allocate(kBytes);
  kernels->upload(from, sent.data(), kBytes);
  kernels->zero(to, kBytes);
  group.begin();
  group.send(from, kBytes, 0, stream);
  group.receive(to, kBytes, 0, stream);
  group.end();
  std::vector<float> got(kCount, NAN);
  kernels->download(got.data(), to, kBytes);
  CHECK(got == sent, "%s moves %zu floats", library.c_str(), kCount);
  kernels->release(from);
  kernels->release(to);
  std::printf("NCCL %s\n", api->version.c_str());
  return report("nccl");
}

}  // namespace

int main(int count, char** words) {
  if (count > 1) return testLibrary(words[1]);
  mockLibrary = besideProgram(words[0], MOCK_NCCL);
  hookMock();
  newKernels = onCpu;
  testAll("cpu");
  testRefusals();
  if (!cudaDevices().list.empty()) {
    newKernels = onCuda;
#ifdef FEYNKAC_EMULATED
    emulator::config.lazyStreams = true;  // so that what leaves before it is done shows
#endif
    testAll("cuda");
  }
  return report("nccl");
}
