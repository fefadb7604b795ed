#!/usr/bin/env bash
# Score a checkpoint under Slurm: srun starts one process a GPU, and each pair counts once, as in one process.
set -euo pipefail
# shellcheck source=tools/_launch.sh
. "$(dirname "${BASH_SOURCE[0]}")/_launch.sh"
[ $# -ge 4 ] || usage_error 'usage: bash tools/slurm_test.sh PARTITION JOB CONFIG CHECKPOINT [arguments of test.py]' \
  '  GPUS (8), GPUS_PER_NODE (8, or GPUS where fewer), CPUS_PER_TASK (5), SRUN_ARGS (more for srun), PORT (from the job)' \
  '  without GPUs: GPUS_PER_NODE=0 and NTASKS (1), the number of processes'
with_srun "$1" "$2" "$tools/test.py" "$3" "$4" "${@:5}"
