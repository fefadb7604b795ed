#!/usr/bin/env bash
# Train under Slurm: srun starts one process a GPU.
set -euo pipefail
# shellcheck source=tools/_launch.sh
. "$(dirname "${BASH_SOURCE[0]}")/_launch.sh"
[ $# -ge 4 ] || usage_error 'usage: bash tools/slurm_train.sh PARTITION JOB CONFIG WORK_DIR [arguments of train.py]' \
  '  GPUS (8), GPUS_PER_NODE (8, or GPUS where fewer), CPUS_PER_TASK (5), SRUN_ARGS (more for srun), PORT (from the job)' \
  '  without GPUs: GPUS_PER_NODE=0 and NTASKS (1), the number of processes'
with_srun "$1" "$2" "$tools/train.py" "$3" --work-dir "$4" "${@:5}"
