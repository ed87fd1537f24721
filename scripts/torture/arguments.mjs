import { must, started, trial } from './trial.mjs'

/** The test that calls every export with wrong arguments, by other random numbers. */
await trial(async (random) => {
  const env = { ...process.env, FEYNKAC_FUZZ_SEED: String(random.below(1e6)) }
  const { status, said } = await started(
    ['node_modules/vitest/vitest.mjs', 'run', '--testTimeout', '600000', 'test/wrong-arguments.test.ts'],
    {
      env,
    },
  ).ended
  must(status === 0, `FEYNKAC_FUZZ_SEED=${env.FEYNKAC_FUZZ_SEED}: ${said.slice(-3000)}`)
})
