#include "engine/image_job.h"

#include "engine/networks.h"

namespace feynkac {

void validate(const ImageLevels& c, const char* network) {
  const auto require = [&](bool ok, const std::string& what) { requireSetting(ok, network, what); };
  require(c.channels >= 1 && c.channels <= 4096, "in_channels must be from 1 to 4096");
  require(c.height >= 1 && c.width >= 1 && c.height <= 16384 && c.width <= 16384,
          "image sides must be from 1 to 16384");
  const size_t levels = c.blockOutChannels.size();
  require(levels >= 1 && levels <= 12, "block_out_channels must have 1 to 12 entries");
  for (const int n : c.blockOutChannels) require(n >= 1 && n <= 65536, "block_out_channels must be from 1 to 65536");
  require(c.layersPerBlock >= 1 && c.layersPerBlock <= 64, "layers_per_block must be from 1 to 64");
  require(c.groups >= 1, "norm_num_groups must be at least 1");
  int scale = 1;
  for (size_t i = 1; i < levels; ++i) scale *= 2;
  require(c.height % scale == 0 && c.width % scale == 0, "image sides " + std::to_string(c.height) + "x" +
                                                             std::to_string(c.width) +
                                                             " must halve evenly at every level of block_out_channels");
}

void ImageJob::takeInput(VarId in) {
  Program& g = program;
  Plan& plan = g.plan;
  from = plan.pinned(g.floats(in) * sizeof(float));
  ones = plan.pinned(batch * sizeof(float));
  const Buffer to = g.x(in);
  const Var v = g.var(in);
  plan.op({to, from, ones}, [this, to, v](Kernels& k) {
    const Plan& p = program.plan;
    k.run(
        op::ToChannelsLast{p.at(to), p.at(ones), p.at(from), nullptr, nullptr, batch, v.channels, v.height * v.width});
  });
}

void ImageJob::fillOnes(Kernels& k) {
  const std::vector<float> values(batch, 1.0f);
  k.upload(program.plan.at(ones), values.data(), batch * sizeof(float));
}

void ImageJob::setLossWeight(double weight) {
  const auto rounded = static_cast<float>(weight);
  if (lossWeight != rounded) program.plan.changed();
  lossWeight = rounded;
}

}  // namespace feynkac
