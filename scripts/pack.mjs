#!/usr/bin/env node
import { Argument, Command } from 'commander'
import { folders, pack } from './release/pack.mjs'

/** Packs the package as it is published, from what is built; a release does more: release.mjs. */

const command = new Command('pack')
  .description(
    'Pack feynkac, or one of its other packages, as it is published, with the addons that are in prebuilds/.',
  )
  .option('--out <folder>', 'where the tarball goes', '.')
  .addArgument(new Argument('[package]', 'which').choices(Object.keys(folders)).default('feynkac'))
  .parse()

console.log((await pack(command.opts().out, command.processedArgs[0])).tarball)
