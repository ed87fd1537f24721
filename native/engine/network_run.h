// What a network keeps between its jobs: jobs laid out.
#pragma once

#include "engine/network.h"
#include "engine/preconditioning.h"

namespace feynkac {

inline bool isDot(Kind kind) { return kind == Kind::kDot || kind == Kind::kJoint; }

// E = ofXx ||x||^2 + ofSum times what the plan sums: dot and joint: <u, h>; l2: ||u - h||^2; norm: ||h||^2; residual:
// ||r||^2, r = (x - D_h) / sigma. dE/dh = slope times u, u - h, h or r.
struct EnergyTerms {
  double ofXx, ofSum, slope;
};
inline EnergyTerms energyTerms(const Levels& levels, const Head& head, int i) {
  if (head.kind == Kind::kResidual) return {0, 0.5, levels.rOfH(i)};
  const double b = levels.energyOfPhi(i), a = levels.energyOfXx(i);
  if (isDot(head.kind)) return {a, b * head.scale, b * head.scale};
  return {a, -0.5 * b, head.kind == Kind::kL2 ? b : -b};
}

// Factors of each row that the residual head's passes have, in Run::rows.
enum ResidualRow { kROfU, kROfH, kPhiGradOfU, kPhiGradOfH, kMinusCurvature, kSeedOfR, kResidualRows };

// A job laid out for one head, batch size, rate of dropout and number of levels that the rows of the batch are in turn at.
struct Network::Run {
  Run(Job j, Kind k, int n, float rate, int nLevels, const Weights* weights)
      : job(j), kind(k), batch(n), levels(nLevels), dropout(rate), program(n, weights) {}
  const Job job;
  const Kind kind;
  const int batch, levels;
  const float dropout;
  Program program;
  Ports ports;
  Parameters declared;  // the builder's copy; the network's own is the one in use
  // filled before a run
  Buffer x = kNone, cIn = kNone, cNoise = kNone, frequencies = kNone, classTimes = kNone, labels = kNone,
         augment = kNone, direction = kNone, target = kNone;
  Buffer truth = kNone, free = kNone, slope = kNone, rows = kNone;
  float headScale = 1.0f;
  op::LossForm loss, energyLoss;
  double levelWeight = 0;
  // read after it: images, then float64 per sample
  Buffer g = kNone, staging = kNone, coefficientA = kNone, coefficientB = kNone;
  Buffer energyA = kNone, energyB = kNone;
  Buffer xx = kNone, phi = kNone, xv = kNone, phiDot1 = kNone, phiDot2 = kNone, losses = kNone, energyLosses = kNone,
         residual = kNone;
};

}  // namespace feynkac
