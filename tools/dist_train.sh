#!/usr/bin/env bash
# Train in several processes of this computer, or of several: on a GPU each, or on the CPU where there is none.
set -euo pipefail
# shellcheck source=tools/_launch.sh
. "$(dirname "${BASH_SOURCE[0]}")/_launch.sh"
[ $# -ge 2 ] || usage_error 'usage: bash tools/dist_train.sh CONFIG GPUS [arguments of train.py]' \
  '  several computers: NNODES (1), NODE_RANK (0), MASTER_ADDR (127.0.0.1), PORT (29500; alone: a free one)' \
  '  without GPUs: GPUS is the number of processes, and --device cpu may be given'
with_torchrun "$2" "$tools/train.py" "$1" "${@:3}"
