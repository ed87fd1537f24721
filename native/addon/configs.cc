#include "configs.h"

#include <cmath>
#include <type_traits>

namespace feynkac::addon {
namespace {

Napi::Array arrayOf(const Napi::Object& o, const char* name) {
  const Napi::Value value = o.Get(name);
  if (!value.IsArray()) throw argumentError(o.Env(), std::string("expected an array for ") + name);
  return value.As<Napi::Array>();
}

template <class T>
std::vector<T> numbers(const Napi::Object& o, const char* name) {
  const Napi::Array array = arrayOf(o, name);
  std::vector<T> out;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value item = array.Get(i);
    if (!item.IsNumber()) throw argumentError(o.Env(), std::string("expected an array of numbers for ") + name);
    const double value = item.As<Napi::Number>().DoubleValue();
    if (std::is_integral_v<T> && !(std::fabs(value) <= 1 << 24 && value == std::floor(value)))
      throw argumentError(o.Env(), std::string("expected an array of whole numbers for ") + name);
    out.push_back(static_cast<T>(value));
  }
  return out;
}

std::string text(const Napi::Object& o, const char* name) {
  const Napi::Value value = o.Get(name);
  return value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
}

int small(const Napi::Object& o, const char* name) { return static_cast<int>(integer(o, name, 0, 1 << 24)); }

// An optional number: `absent` where it is null or undefined.
int optional(const Napi::Object& o, const char* name, int absent) {
  const Napi::Value value = o.Get(name);
  return value.IsNumber() ? small(o, name) : absent;
}

bool flag(const Napi::Object& o, const char* name) {
  const Napi::Value value = o.Get(name);
  if (!value.IsBoolean()) throw argumentError(o.Env(), std::string("expected true or false for ") + name);
  return value.As<Napi::Boolean>().Value();
}

template <class T>
T choiceOf(const Napi::Object& o, const char* name, std::initializer_list<std::pair<const char*, T>> choices) {
  const std::string given = text(o, name);
  std::string list;
  for (const auto& [key, value] : choices) {
    if (given == key) return value;
    list += std::string(list.empty() ? "'" : ", '") + key + "'";
  }
  throw argumentError(o.Env(), "expected one of " + list + " for " + name);
}

EdmUNetConfig edmUNet(const Napi::Object& args, const std::vector<int>& shape, bool adm) {
  EdmUNetConfig c = {};
  c.adm = adm;
  c.imgResolution = small(args, "img_resolution");
  c.height = shape[1];
  c.width = shape[2];
  c.inChannels = small(args, "in_channels");
  c.labelDim = small(args, "label_dim");
  c.augmentDim = small(args, "augment_dim");
  c.modelChannels = small(args, "model_channels");
  c.channelMult = numbers<int>(args, "channel_mult");
  c.channelMultEmb = small(args, "channel_mult_emb");
  c.numBlocks = small(args, "num_blocks");
  c.attnResolutions = numbers<int>(args, "attn_resolutions");
  c.channelMultNoise = 1;
  c.resampleFilter = {1, 1};
  c.encoder = EdmUNetConfig::kStandard;
  if (adm) return c;
  c.channelMultNoise = small(args, "channel_mult_noise");
  c.resampleFilter = numbers<float>(args, "resample_filter");
  c.fourier = choiceOf<bool>(args, "embedding_type", {{"positional", false}, {"fourier", true}});
  c.encoder = choiceOf<EdmUNetConfig::Encoder>(
      args, "encoder_type",
      {{"standard", EdmUNetConfig::kStandard}, {"skip", EdmUNetConfig::kSkip}, {"residual", EdmUNetConfig::kResidual}});
  c.skipDecoder = choiceOf<bool>(args, "decoder_type", {{"standard", false}, {"skip", true}});
  c.labelMaps = args.Get("label_maps").ToBoolean();
  return c;
}

// Which of the blocks attend.
std::vector<int> attention(const Napi::Object& args, const char* name, const char* plain, const char* attends) {
  const Napi::Array array = arrayOf(args, name);
  std::vector<int> out;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value item = array.Get(i);
    const std::string type = item.IsString() ? item.As<Napi::String>().Utf8Value() : "";
    if (type != plain && type != attends) {
      std::string message = "expected '";
      for (const char* part : {plain, "' or '", attends, "' in ", name}) message += part;
      throw argumentError(args.Env(), message);
    }
    out.push_back(type == attends ? 1 : 0);
  }
  return out;
}

DiffusersUNetConfig::Resampling resampling(const Napi::Object& args, const char* name) {
  if (args.Get(name).IsNull()) return DiffusersUNetConfig::kConv;  // as diffusers reads it
  return choiceOf<DiffusersUNetConfig::Resampling>(
      args, name, {{"conv", DiffusersUNetConfig::kConv}, {"resnet", DiffusersUNetConfig::kResnet}});
}

DiffusersUNetConfig diffusersUNet(const Napi::Object& args, const std::vector<int>& shape) {
  DiffusersUNetConfig c = {};
  c.height = shape[1];
  c.width = shape[2];
  c.inChannels = small(args, "in_channels");
  c.blockOutChannels = numbers<int>(args, "block_out_channels");
  c.downAttention = attention(args, "down_block_types", "DownBlock2D", "AttnDownBlock2D");
  c.upAttention = attention(args, "up_block_types", "UpBlock2D", "AttnUpBlock2D");
  c.layersPerBlock = small(args, "layers_per_block");
  c.midBlock = !args.Get("mid_block_type").IsNull();
  c.midAttention = flag(args, "add_attention");
  c.midScaleFactor = number(args, "mid_block_scale_factor");
  c.downType = resampling(args, "downsample_type");
  c.upType = resampling(args, "upsample_type");
  c.downPadding = small(args, "downsample_padding");
  c.headDim = optional(args, "attention_head_dim", 0);
  c.groups = small(args, "norm_num_groups");
  c.eps = number(args, "norm_eps");
  c.scaleShift = choiceOf<bool>(args, "resnet_time_scale_shift", {{"default", false}, {"scale_shift", true}});
  // the middle's attention has no norm beside scale-shift unless its groups are given
  c.midGroups = optional(args, "attn_norm_num_groups", c.scaleShift ? 0 : c.groups);
  c.timeEmbedding = choiceOf<DiffusersUNetConfig::TimeEmbedding>(args, "time_embedding_type",
                                                                 {{"positional", DiffusersUNetConfig::kPositional},
                                                                  {"fourier", DiffusersUNetConfig::kFourier},
                                                                  {"learned", DiffusersUNetConfig::kLearned}});
  c.timesteps = optional(args, "num_train_timesteps", 0);
  c.cosFirst = flag(args, "flip_sin_to_cos");
  c.freqShift = number(args, "freq_shift");
  if (c.blockOutChannels.empty()) throw argumentError(args.Env(), "expected at least one of block_out_channels");
  c.timeDim = optional(args, "time_embedding_dim", 4 * c.blockOutChannels[0]);
  c.classes = optional(args, "num_class_embeds", 0);
  if (text(args, "class_embed_type") == "identity")
    c.classEmbedding = DiffusersUNetConfig::kIdentity;
  else if (text(args, "class_embed_type") == "timestep")
    c.classEmbedding = DiffusersUNetConfig::kTimestep;
  else if (c.classes > 0)
    c.classEmbedding = DiffusersUNetConfig::kTable;
  return c;
}

// The configuration of a network of the class named, whose input has `in_channels`.
void readLevels(ImageLevels& levels, const Napi::Object& o, const char* name) {
  const Napi::Object args = objectOf(o.Get("args"), "args");
  const auto shape = numbers<int>(o, "shape");
  if (text(o, "class") != name) throw argumentError(o.Env(), std::string("expected '") + name + "' for the class");
  if (shape.size() != 3 || shape[0] != small(args, "in_channels"))
    throw argumentError(o.Env(), std::string("expected [channels, height, width] for the shape of ") + name +
                                     ", with as many channels as in_channels");
  levels.channels = shape[0];
  levels.height = shape[1];
  levels.width = shape[2];
  levels.blockOutChannels = numbers<int>(args, "block_out_channels");
  levels.layersPerBlock = small(args, "layers_per_block");
  levels.groups = small(args, "norm_num_groups");
}

NoiseCondition noiseConditionOf(const Napi::Object& o) {
  NoiseCondition n;
  const std::string kind = text(o, "kind");
  if (kind == "table") {
    n.rule = choiceOf<NoiseCondition::Rule>(
        o, "rounding", {{"linear", NoiseCondition::kTable}, {"nearest", NoiseCondition::kNearest}});
    n.sigmas = numbers<double>(o, "sigmas");
    n.times = numbers<double>(o, "times");
    if (n.sigmas.empty() || n.sigmas.size() != n.times.size())
      throw argumentError(o.Env(), "expected as many times as sigmas, and at least one");
  } else if (kind == "vp") {
    n.rule = NoiseCondition::kVariance;
    n.betaD = number(o, "betaD");
    n.betaMin = number(o, "betaMin");
    n.steps = number(o, "M");
  } else if (kind == "log") {
    n.scale = number(o, "scale");
    n.offset = number(o, "offset");
  } else {
    throw argumentError(o.Env(), "expected 'log', 'table' or 'vp' for the noise's kind");
  }
  return n;
}

}  // namespace

Napi::Object objectOf(const Napi::Value& value, const char* name) {
  if (!value.IsObject()) throw argumentError(value.Env(), std::string("expected an object for ") + name);
  return value.As<Napi::Object>();
}

NetworkConfig configOf(const Napi::Object& o) {
  const Napi::Object args = objectOf(o.Get("args"), "args");
  const std::string name = text(o, "class");
  if (name == "ResidualMLP")
    return ResidualMlpConfig{small(args, "dim"), small(args, "hidden"), small(args, "layers"), small(args, "label_dim"),
                             small(args, "channel_mult_noise")};
  const auto shape = numbers<int>(o, "shape");
  if (shape.size() != 3) throw argumentError(o.Env(), "expected [channels, height, width] for the network's shape");
  if (shape[0] != small(args, "in_channels") || shape[0] != small(args, "out_channels"))
    throw argumentError(o.Env(), name + ": in_channels and out_channels must be the channels of the network's shape");
  if (name == "UNet2DModel") return diffusersUNet(args, shape);
  if (name != "SongUNet" && name != "DhariwalUNet")
    throw argumentError(o.Env(),
                        "expected 'SongUNet', 'DhariwalUNet', 'UNet2DModel' or 'ResidualMLP' for the network's class");
  return edmUNet(args, shape, name == "DhariwalUNet");
}

AutoencoderConfig autoencoderConfigOf(const Napi::Object& o) {
  AutoencoderConfig c = {};
  readLevels(c, o, "AutoencoderKL");
  const Napi::Object args = objectOf(o.Get("args"), "args");
  if (c.channels != small(args, "out_channels"))
    throw argumentError(o.Env(), "expected as many out_channels as in_channels of AutoencoderKL");
  c.latentChannels = small(args, "latent_channels");
  c.doubleZ = flag(args, "double_z");
  c.quantConv = flag(args, "use_quant_conv");
  c.postQuantConv = flag(args, "use_post_quant_conv");
  c.midAttention = flag(args, "mid_block_add_attention");
  return c;
}

ClassifierConfig classifierConfigOf(const Napi::Object& o) {
  ClassifierConfig c = {};
  readLevels(c, o, "ConvClassifier");
  c.classes = numbers<int>(objectOf(o.Get("args"), "args"), "classes");
  return c;
}

Preconditioning preconditioningOf(const Napi::Object& o) {
  Preconditioning p;
  p.form = choiceOf<Form>(o, "form",
                          {{"edm", Form::kEdm},
                           {"epsilon", Form::kEpsilon},
                           {"v", Form::kV},
                           {"sample", Form::kSample},
                           {"ve", Form::kVe}});
  p.sigmaData = number(o, "sigmaData");
  if (!(p.sigmaData > 0) || !std::isfinite(p.sigmaData))
    throw argumentError(o.Env(), "expected a finite sigmaData above 0");
  p.noise = noiseConditionOf(objectOf(o.Get("noise"), "noise"));
  return p;
}

}  // namespace feynkac::addon
