// Network configurations and preconditionings as lib/models has them.
#pragma once

#include "arguments.h"
#include "engine/autoencoder.h"
#include "engine/classifier.h"
#include "engine/network.h"

namespace feynkac::addon {

NetworkConfig configOf(const Napi::Object& o);
AutoencoderConfig autoencoderConfigOf(const Napi::Object& o);
ClassifierConfig classifierConfigOf(const Napi::Object& o);
Preconditioning preconditioningOf(const Napi::Object& o);

Napi::Object objectOf(const Napi::Value& value, const char* name);

}  // namespace feynkac::addon
