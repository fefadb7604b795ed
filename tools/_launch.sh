# shellcheck shell=bash
# Functions shared by dist_*.sh and slurm_*.sh: one tool in several processes, by torchrun or by srun. They work from any
# folder: paths are the caller's, only this checkout is found through the scripts' own place.

unset CDPATH # `cd` would look there first
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$tools")
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

usage_error() {
  printf '%s\n' "$@" >&2
  exit 2
}

# The interpreter: PYTHON, or that of an active environment, or of MMMAGNET_VENV, or of .venv, or the usual one.
choose_python() {
  local place
  if [ -n "${PYTHON:-}" ]; then
    echo "$PYTHON"
    return
  fi
  for place in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}" "${MMMAGNET_VENV:-}" "$root/.venv"; do
    if [ -n "$place" ] && [ -x "$place/bin/python" ]; then
      echo "$place/bin/python"
      return
    fi
  done
  echo python3
}

# with_torchrun PROCESSES TOOL ARGUMENTS...
with_torchrun() {
  local processes=$1 nodes=${NNODES:-1} where
  shift
  case $processes in '' | *[!0-9]* | 0) usage_error "error: GPUS is $processes: a number from 1 (of processes on this computer)" ;; esac
  if [ "$nodes" = 1 ] && [ -z "${PORT:-}" ]; then
    where=(--standalone --local-addr 127.0.0.1) # torchrun finds a free port itself
  else
    where=(--nnodes "$nodes" --node-rank "${NODE_RANK:-0}" --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${PORT:-29500}")
  fi
  exec "$(choose_python)" "$tools/_torchrun.py" "${where[@]}" --nproc-per-node "$processes" "$@" --launcher pytorch
}

# Sets `tasks`: how many processes and GPUs Slurm is asked for.
set_tasks() {
  local gpus=${GPUS:-8}
  if [ "${GPUS_PER_NODE:-}" = 0 ]; then
    tasks=(--ntasks "${NTASKS:-1}")
  else
    local per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    tasks=(--ntasks "$gpus" --ntasks-per-node "$per_node" --gres "gpu:$per_node")
  fi
}

# with_srun PARTITION JOB TOOL ARGUMENTS...
# Each task gets what torchrun would set, so the same launcher serves both: MMEngine's own for Slurm needs GPUs.
with_srun() {
  local partition=$1 job=$2 tasks
  shift 2
  set_tasks
  [ "${GPUS_PER_NODE:-}" != 0 ] || set -- "$@" --device cpu
  # SRUN_ARGS is a list of words.
  # shellcheck disable=SC2016,SC2086
  PORT=${PORT:-} exec srun --partition "$partition" --job-name "$job" "${tasks[@]}" --cpus-per-task "${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 ${SRUN_ARGS:-} bash -c '
      export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
      # all tasks of a step agree on it, and steps beside each other differ
      export MASTER_PORT=${PORT:-$((20000 + (SLURM_JOB_ID * 16 + SLURM_STEP_ID) % 12000))} MASTER_ADDR=127.0.0.1
      # the first node, which is read from the list where a container has no scontrol
      [ "$SLURM_STEP_NUM_NODES" = 1 ] || MASTER_ADDR=$(scontrol show hostnames "$SLURM_STEP_NODELIST" 2>/dev/null | head -n 1)
      [ -n "$MASTER_ADDR" ] || MASTER_ADDR=$(echo "${SLURM_STEP_NODELIST%%,*}" | sed "s/\[\([^]-]*\).*/\1/")
      # a cluster that shows each task one GPU only shows it as number 0
      case ${CUDA_VISIBLE_DEVICES:-} in "" | *,*) ;; *) LOCAL_RANK=0 ;; esac
      export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
      exec "$@"' task "$(choose_python)" "$@" --launcher pytorch
}
