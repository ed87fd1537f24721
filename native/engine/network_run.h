// What a network keeps between its jobs: jobs laid out.
#pragma once

#include "engine/network.h"
#include "engine/preconditioning.h"

namespace feynkac {

// A job laid out for one head, batch size and rate of dropout.
struct Network::Run {
  Run(Job j, Kind k, int n, float rate, const Weights* weights)
      : job(j), kind(k), batch(n), dropout(rate), program(n, weights) {}
  const Job job;
  const Kind kind;
  const int batch;
  const float dropout;
  Program program;
  Ports ports;
  Parameters declared;  // the builder's copy; the network's own is the one in use
  // filled before a run
  Buffer x = kNone, cIn = kNone, cNoise = kNone, frequencies = kNone, classTimes = kNone, labels = kNone,
         augment = kNone, direction = kNone, target = kNone;
  float headScale = 1.0f, lossWeight = 0.0f, energyLossWeight = 0.0f;
  // read after it: images, then float64 per sample
  Buffer g = kNone, staging = kNone, coefficientA = kNone, coefficientB = kNone;
  Buffer energyA = kNone, energyB = kNone;
  Buffer xx = kNone, phi = kNone, xv = kNone, phiDot1 = kNone, phiDot2 = kNone, losses = kNone, energyLosses = kNone;
};

}  // namespace feynkac
