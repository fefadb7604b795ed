#!/usr/bin/env bash
# Score a checkpoint in several processes of this computer, or of several: each pair counts once, as in one process.
set -euo pipefail
# shellcheck source=tools/_launch.sh
. "$(dirname "${BASH_SOURCE[0]}")/_launch.sh"
[ $# -ge 3 ] || usage_error 'usage: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of test.py]' \
  '  several computers: NNODES (1), NODE_RANK (0), MASTER_ADDR (127.0.0.1), PORT (29500; alone: a free one)' \
  '  without GPUs: GPUS is the number of processes, and --device cpu may be given'
with_torchrun "$3" "$tools/test.py" "$1" "$2" "${@:4}"
