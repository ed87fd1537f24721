/** What started this process as one of several, by its environment. */
export interface Launcher {
  name: string
  rank: number
  size: number
  /** Among those of this machine, where the launcher says so. */
  localRank: number | null
  /** Names of the MPI libraries that go with it, the likeliest first. */
  libraries: readonly string[]
}

const mac = process.platform === 'darwin'
/** Libraries of Open MPI 3 to 5. */
export const openMpi = mac ? ['libmpi.40.dylib'] : ['libmpi.so.40']
/** Libraries of MPICH, Intel MPI and MVAPICH, and Debian's name for them. */
export const mpich = mac ? ['libmpi.12.dylib'] : ['libmpi.so.12', 'libmpich.so.12']
/** Libraries with the binary interface of the standard, MPI 5. */
export const standard = mac ? ['libmpi_abi.0.dylib'] : ['libmpi_abi.so.0']

/** Null where none did. `SLURM_NTASKS` says nothing: the batch script has it too, which is one process. */
export function launcher(env: NodeJS.ProcessEnv = process.env): Launcher | null {
  const others = [...standard, mac ? 'libmpi.dylib' : 'libmpi.so']
  const known = [
    {
      name: 'mpirun (Open MPI)',
      names: ['OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'],
      libraries: [...openMpi, ...others],
    },
    {
      name: 'mpiexec (Hydra)',
      names: ['PMI_RANK', 'PMI_SIZE', 'MPI_LOCALRANKID'],
      libraries: [...mpich, ...others],
    },
    {
      name: 'srun',
      names: ['SLURM_PROCID', 'SLURM_STEP_NUM_TASKS', 'SLURM_LOCALID'],
      libraries: env.PMIX_RANK === undefined ? [...mpich, ...openMpi, ...others] : [...openMpi, ...mpich, ...others],
    },
  ]
  for (const { name, names, libraries } of known) {
    const [rank, size, localRank] = names.map((variable) => whole(env[variable]))
    if (rank === undefined || size === undefined || rank >= size) continue
    return {
      name,
      rank,
      size,
      localRank: localRank ?? null,
      libraries: env.FEYNKAC_MPI ? [env.FEYNKAC_MPI] : libraries,
    }
  }
  return null
}

function whole(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,7}$/.test(text) ? Number(text) : undefined
}
