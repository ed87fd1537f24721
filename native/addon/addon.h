// The parts of the addon: each registers its functions and classes.
#pragma once

#include <napi.h>

namespace feynkac::addon {

void initNetwork(Napi::Env env, Napi::Object exports);
void initAutoencoder(Napi::Env env, Napi::Object exports);
void initClassifier(Napi::Env env, Napi::Object exports);
void initDeviceArrays(Napi::Env env, Napi::Object exports);
void initParticles(Napi::Env env, Napi::Object exports);
void initParticleEnergies(Napi::Env env, Napi::Object exports);
void initPopulation(Napi::Env env, Napi::Object exports);
void initRanks(Napi::Env env, Napi::Object exports);
void initFileLock(Napi::Env env, Napi::Object exports);
void keepLoaded();

}  // namespace feynkac::addon
