# shellcheck shell=bash
# Functions of dist_*.sh and slurm_*.sh: one tool in several processes, by torchrun or by srun. They work from any
# folder: paths are the caller's, and this checkout is found by the scripts' own place.

unset CDPATH # `cd` would look there first
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$tools")
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"

usage_error() {
  printf '%s\n' "$@" >&2
  exit 2
}

# Print the interpreter: PYTHON, or that of an active environment, of MMMAGNET_VENV, of .venv, or the usual one.
choose_python() {
  local place
  for place in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}" "${MMMAGNET_VENV:-}" "$root/.venv"; do
    [ -n "${PYTHON:-}" ] || [ -z "$place" ] || [ ! -x "$place/bin/python" ] || PYTHON=$place/bin/python
  done
  echo "${PYTHON:-python3}"
}

# with_torchrun PROCESSES TOOL ARGUMENTS...
with_torchrun() {
  local processes=$1 where
  shift
  case $processes in '' | *[!0-9]* | 0) usage_error "error: GPUS is $processes: a number from 1 (of processes on this computer)" ;; esac
  if [ "${NNODES:-1}" = 1 ] && [ -z "${PORT:-}" ]; then
    where=(--standalone --local-addr 127.0.0.1) # torchrun finds a free port itself
  else
    where=(--nnodes "${NNODES:-1}" --node-rank "${NODE_RANK:-0}" --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${PORT:-29500}")
  fi
  exec "$(choose_python)" -m torch.distributed.run "${where[@]}" --nproc-per-node "$processes" "$@" --launcher pytorch
}

# set_tasks: set `tasks`, how many processes and GPUs Slurm is asked for.
set_tasks() {
  local gpus=${GPUS:-8}
  local per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
  tasks=(--ntasks "$gpus" --ntasks-per-node "$per_node" --gres "gpu:$per_node" --cpus-per-task "${CPUS_PER_TASK:-5}")
  [ "$per_node" != 0 ] || tasks=(--ntasks "${NTASKS:-1}" --cpus-per-task "${CPUS_PER_TASK:-5}")
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
  PORT=${PORT:-} exec srun --partition "$partition" --job-name "$job" "${tasks[@]}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} bash -c '
      export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
      # all tasks of a step agree on the port, and steps beside each other differ
      export MASTER_PORT=${PORT:-$((20000 + (SLURM_JOB_ID * 16 + SLURM_STEP_ID) % 12000))} MASTER_ADDR=127.0.0.1
      # the first node, which is read from the list where a container has no scontrol
      [ "$SLURM_STEP_NUM_NODES" = 1 ] || MASTER_ADDR=$(scontrol show hostnames "$SLURM_STEP_NODELIST" 2>/dev/null | head -n 1)
      [ -n "$MASTER_ADDR" ] || MASTER_ADDR=$(echo "${SLURM_STEP_NODELIST%%,*}" | sed "s/\[\([^]-]*\).*/\1/")
      # a cluster that shows each task one GPU only shows it as number 0
      case ${CUDA_VISIBLE_DEVICES:-} in "" | *,*) ;; *) LOCAL_RANK=0 ;; esac
      export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
      exec "$@"' task "$(choose_python)" "$@" --launcher pytorch
}
