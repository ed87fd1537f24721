// The command line in a rank whose process id is left in the folder PIDS, under its rank.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

const { PIDS, OMPI_COMM_WORLD_RANK, PMI_RANK } = process.env
writeFileSync(join(PIDS, `rank-${OMPI_COMM_WORLD_RANK ?? PMI_RANK}`), String(process.pid))
await import('../../bin/feynkac.js')
