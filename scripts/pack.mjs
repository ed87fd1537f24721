#!/usr/bin/env node
import { Command } from 'commander'
import { pack } from './release/pack.mjs'

/** Packs the package as it is published, from what is built; a release does more: release.mjs. */

const options = new Command('pack')
  .description('Pack feynkac as it is published, with the addons that are in prebuilds/.')
  .option('--out <folder>', 'where the tarball goes', '.')
  .option('--cuda', 'the package of the addon with CUDA kernels instead')
  .parse()
  .opts()

console.log((await pack(options.out, { cuda: options.cuda })).tarball)
