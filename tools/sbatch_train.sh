#!/usr/bin/env bash
# Train under Slurm as a batch job. After a pre-emption or a failed node it is requeued, and resumes from its last
# checkpoint.
set -euo pipefail
# shellcheck source=tools/_launch.sh
. "$(dirname "${BASH_SOURCE[0]}")/_launch.sh"
[ $# -ge 4 ] || usage_error 'usage: bash tools/sbatch_train.sh PARTITION JOB CONFIG WORK_DIR [arguments of train.py]' \
  '  GPUS (8), GPUS_PER_NODE (8, or GPUS where fewer), CPUS_PER_TASK (5), SRUN_ARGS, PORT as of slurm_train.sh' \
  '  SBATCH_ARGS (more for sbatch, such as --time 24:00:00); the log is WORK_DIR/slurm-JOBID.log' \
  '  without GPUs: GPUS_PER_NODE=0 and NTASKS (1), the number of processes'
[ -f "$3" ] || usage_error "error: $3: no such config file"
for argument in "${@:5}"; do
  case $argument in --resume | --resume=*)
    usage_error "error: $argument: this script goes on from WORK_DIR by itself; to start from other weights add --cfg-options load_from=CHECKPOINT" ;;
  esac
done
set_tasks
mkdir -p "$4"
# SBATCH_ARGS is a list of words.
# shellcheck disable=SC2086
sbatch --partition "$1" --job-name "$2" "${tasks[@]}" \
  --requeue --open-mode append --output "$4/slurm-%j.log" ${SBATCH_ARGS:-} \
  --wrap "exec bash $(printf '%q ' "$tools/slurm_train.sh" "$@" --resume)" || {
  status=$?
  rmdir "$4" 2>/dev/null || true # only if there is nothing in it
  exit "$status"
}
