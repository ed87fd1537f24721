// Networks: denoising, energy with gradient, and training steps, from the weights and inputs that the peers get too.
#include <cmath>
#include <fstream>
#include <memory>

#include "counting.h"
#include "job.h"
#include "kernels/cuda/cuda.h"
#include "timing.h"

namespace feynkac::bench {
namespace {

constexpr Head kDenoiserHead = {Kind::kDenoiser, 1}, kDotHead = {Kind::kDot, 0.5};
constexpr int kChecked = 8;  // samples whose outputs are compared

EdmUNetConfig configOf(const Job& job) {
  const int size = job.integer("resolution"), channels = job.integer("channels");
  EdmUNetConfig c = {};
  c.imgResolution = c.height = c.width = size;
  c.inChannels = channels;
  c.modelChannels = job.integer("width");
  c.channelMult = job.integers("mult");
  c.channelMultEmb = 4;
  c.channelMultNoise = 1;
  c.numBlocks = job.integer("blocks");
  c.attnResolutions = job.integers("attention");
  c.resampleFilter = {1, 1};
  return c;
}

std::unique_ptr<Kernels> makeKernels(const Job& job) {
  if (!isCuda(job)) return std::unique_ptr<Kernels>(makeCpuKernels());
  const std::string& name = job.text("precision");
  const Precision p = name == "bf16" ? Precision::kBf16 : name == "tf32" ? Precision::kTf32 : Precision::kFp32;
  return std::unique_ptr<Kernels>(makeCudaKernels(0, p));
}

std::vector<float> floatsFrom(const std::string& path, size_t n) {
  std::vector<float> values(n);
  std::ifstream file(path, std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(n * sizeof(float))))
    throw std::runtime_error("cannot read " + std::to_string(n) + " numbers from " + path);
  return values;
}

void writeFloats(const std::string& path, const float* values, size_t n) {
  std::ofstream file(path, std::ios::binary);
  if (!file.write(reinterpret_cast<const char*>(values), static_cast<std::streamsize>(n * sizeof(float))))
    throw std::runtime_error("cannot write " + path);
}

// A network with its kernels, which stay the network's.
struct Side {
  Side(const Job& job, const std::string& weights)
      : network(configOf(job), {}, [this, job] {
          auto made = makeKernels(job);
          kernels = made.get();
          return made;
        }) {
    network.write(Slot::kParams, floatsFrom(weights, network.parameters().torchSize()).data());
  }
  Kernels* kernels = nullptr;
  Network network;
};

// Everything a job reads and writes: input sets that take turns, so that none is in a cache, and room for the outputs.
struct Arrays {
  Arrays(const Job& job, size_t dimension)
      : batch(job.integer("batch")),
        sets(job.integer("sets")),
        d(dimension),
        x(floatsFrom(job.text("x"), size_t(sets) * batch * d)),
        image(batch * d),
        energy(batch),
        losses(batch),
        sigmas(batch) {
    for (const float s : floatsFrom(job.text("sigma"), batch)) sigma.push_back(s);
    clean = x;
    for (float& v : clean) v *= 0.3f;
  }
  Batch inputs(int set) const {
    return {batch, x.data() + size_t(set % sets) * batch * d, sigma.data(), nullptr, nullptr};
  }
  const float* cleanImages(int set) const { return clean.data() + size_t(set % sets) * batch * d; }

  int batch, sets;
  size_t d;
  std::vector<float> x, clean, image;
  std::vector<double> sigma, energy, losses, sigmas;
};

// Input sets and outputs in the memory of the device, where SMC has its particles.
class Resident {
 public:
  Resident(Kernels& kernels, const Arrays& a)
      : k_(kernels),
        x_(static_cast<float*>(k_.allocate(a.x.size() * sizeof(float)))),
        image_(static_cast<float*>(k_.allocate(a.image.size() * sizeof(float)))),
        energy_(static_cast<double*>(k_.allocate(a.energy.size() * sizeof(double)))) {
    k_.upload(x_, a.x.data(), a.x.size() * sizeof(float));
  }
  ~Resident() {
    for (void* p : {static_cast<void*>(x_), static_cast<void*>(image_), static_cast<void*>(energy_)}) k_.release(p);
  }
  Resident(const Resident&) = delete;
  Resident& operator=(const Resident&) = delete;

  void evaluate(Network& network, const std::string& name, const Arrays& a, int set) {
    Batch batch = a.inputs(set);
    batch.x = x_ + (batch.x - a.x.data());
    ResidentOutputs out = {nullptr, nullptr, nullptr, k_.device(), k_.context()};
    const bool denoises = name == "denoise";
    (denoises ? out.denoised : out.grad) = image_;
    if (!denoises) out.energy = energy_;
    network.evaluateResident(denoises ? kDenoiserHead : kDotHead, batch, out, Stop());
  }
  void download(Arrays& a) {
    k_.download(a.image.data(), image_, a.image.size() * sizeof(float));
    k_.download(a.energy.data(), energy_, a.energy.size() * sizeof(double));
  }

 private:
  Kernels& k_;
  float *x_, *image_;
  double* energy_;
};

void train(Network& student, Network* teacher, Arrays& a, int step) {
  const TrainStep s = {teacher ? kDotHead : kDenoiserHead,
                       a.batch,
                       a.batch,
                       a.cleanImages(step),
                       nullptr,
                       -1.2,
                       1.2,
                       1e-9,
                       1e9,
                       0,
                       0,
                       static_cast<uint32_t>(step + 1),
                       {1e-4, 0.9, 0.999, 1e-8, step + 1, 1, 0.999},
                       a.losses.data(),
                       a.sigmas.data()};
  student.train(s, teacher, Stop());
}

// What the peers' outputs are compared with.
std::string checkEvaluation(const Job& job, Network& network, Arrays& a, Resident& resident) {
  resident.evaluate(network, job.text("job"), a, 0);
  resident.download(a);
  const int n = std::min(a.batch, kChecked);
  writeFloats(job.text("outputs"), a.image.data(), n * a.d);
  if (job.text("job") == "denoise") return "{}";
  std::string energies;
  for (int i = 0; i < n; ++i) energies += (i ? "," : "") + toJson(a.energy[i]);
  return R"({"energy":[)" + energies + "]}";
}

std::string checkTraining(Network& student, Network* teacher, Arrays& a) {
  std::vector<float> target(a.cleanImages(0), a.cleanImages(0) + a.batch * a.d);
  if (teacher) {
    Outputs out = {};
    out.denoised = target.data();
    teacher->evaluate(kDenoiserHead, a.inputs(0), nullptr, out, Stop());
  }
  const double loss = student.gradient(teacher ? kDotHead : kDenoiserHead, a.inputs(0), target.data(), Stop());
  std::vector<float> gradient(student.parameters().torchSize());
  student.read(Slot::kGrad, gradient.data());
  double squares = 0;
  for (const float g : gradient) squares += double(g) * g;
  return R"({"loss":)" + toJson(loss) + R"(,"gradNorm":)" + toJson(std::sqrt(squares)) + "}";
}

// The same job once more on a backend that counts; the first run packs weights.
Costs count(const Job& job, Arrays& a) {
  Costs costs;
  const auto counting = [&costs] { return std::make_unique<Counting>(costs); };
  Counting memory(costs);
  Resident resident(memory, a);
  Network network(configOf(job), {}, counting), teacher(configOf(job), {}, counting);
  const std::string& name = job.text("job");
  for (int run = 0; run < 2; ++run) {
    costs.clear();
    if (name == "denoise" || name == "energyGrad")
      resident.evaluate(network, name, a, 0);
    else
      train(network, name == "distill" ? &teacher : nullptr, a, run);
  }
  return costs;
}

}  // namespace

std::string networkJob(const Job& job) {
  const std::string& name = job.text("job");
  const bool trains = name == "dsm" || name == "distill";
  if (!trains && name != "denoise" && name != "energyGrad") throw std::invalid_argument("no job is called " + name);
  const size_t before = memoryTaken(job);
  Side side(job, job.text("weights"));
  std::unique_ptr<Side> teacher;
  if (name == "distill") teacher = std::make_unique<Side>(job, job.text("teacher"));
  Network* const taught = teacher ? &teacher->network : nullptr;
  Arrays a(job, side.network.sampleSize());
  Resident resident(*side.kernels, a);
  const std::string outputs =
      trains ? checkTraining(side.network, taught, a) : checkEvaluation(job, side.network, a, resident);
  const std::string times = timed(*side.kernels, job, [&](int i) {
    trains ? train(side.network, taught, a, i) : resident.evaluate(side.network, name, a, i);
  });
  const size_t taken = memoryTaken(job);
  return "{" + times + R"(,"deviceBytes":)" + toJson(double(taken > before ? taken - before : 0)) +
         R"(,"parameters":)" + toJson(double(side.network.parameters().torchSize())) + R"(,"costs":)" +
         toJson(count(job, a)) + R"(,"outputs":)" + outputs + "}";
}

}  // namespace feynkac::bench
