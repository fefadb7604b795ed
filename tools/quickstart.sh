#!/usr/bin/env bash
# From a fresh clone to a trained network: environment, synthetic data, training, scores, images. A second run goes on
# from what stands. PYTHON picks the interpreter that makes .venv; MMMAGNET_VENV names an environment to use instead.
set -euo pipefail

usage='usage: bash tools/quickstart.sh [--device cpu|cuda] [--work-dir DIR] [--smoke]
  --device    default: a GPU if PyTorch sees one
  --work-dir  checkpoints, logs, scores and images (default: work_dirs/quickstart, with --smoke work_dirs/smoke)
  --smoke     all steps on a handful of images, in two minutes: the scores mean nothing'

device=() work_dir='' smoke=''
while [ $# -gt 0 ]; do
  case $1 in
    --device=*|--work-dir=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --device)
      case ${2:-} in cpu|cuda) device=(--device "$2") ;; *) echo 'error: --device is cpu or cuda' >&2; exit 2 ;; esac
      shift 2 ;;
    --work-dir)
      [ -n "${2:-}" ] || { echo 'error: --work-dir needs a folder' >&2; exit 2; }
      case $2 in /*) work_dir=${2%/} ;; *) work_dir=$PWD/${2%/} ;; esac
      shift 2 ;;
    --smoke) smoke=1; shift ;;
    -h|--help) echo "$usage"; exit 0 ;;
    *) printf 'error: unknown argument %s\n%s\n' "$1" "$usage" >&2; exit 2 ;;
  esac
done

# shellcheck source=tools/_environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

config=configs/magnet_tiny_synthetic.py
if [ -n "$smoke" ]; then
  work_dir=${work_dir:-work_dirs/smoke}
  data=$work_dir/data
  images=(--train 24 --val 6 --testA 4 --testB 4)
  options=(--cfg-options train_cfg.max_epochs=1)
else
  work_dir=${work_dir:-work_dirs/quickstart}
  data=data/synthetic_easy
  images=() options=()
fi

# shown LOG PATTERN COMMAND...: its output goes to LOG, the lines of PATTERN also to the terminal, shortened.
shown() {
  local log=$1 pattern=$2 status=0 group
  shift 2
  set -m # a process group, which a signal to this script can end as one
  {
    "$@" 2>&1 </dev/null | tee "$log" | awk -v pattern="$pattern" '
      $0 ~ pattern { sub(/^.* - (INFO|WARNING) - /, ""); sub(/base_lr: [^ ]+ +/, ""); gsub(/  +/, "  ")
                     print "    " substr($0, 1, 140); fflush() }' || { status=${PIPESTATUS[0]}; [ "$status" -ne 0 ] || status=1; }
    exit "$status"
  } &
  group=$!
  set +m
  running_pid=-$group
  wait "$group" || status=$?
  running_pid=''
  [ "$status" -eq 0 ] || explain "$status" "$log"
}

# Tensors this small gain little from threads: on CPUs a process for each of up to four cores shares the batch of 32.
cpu_processes() {
  "$python" - ${device[@]+"${device[@]}"} <<'END'
import os, sys, torch
on_gpu = 'cuda' in sys.argv or (torch.cuda.is_available() and 'cpu' not in sys.argv)
print(1 if on_gpu else max(count for count in (1, 2, 4) if count <= (os.cpu_count() or 1)))
END
}

last_checkpoint() { cat "$work_dir/last_checkpoint" 2>/dev/null || true; }

make_environment run

# A training goes on, or counts as finished, only with the settings it began with.
settings=$(find configs/_base_ "$config" -name '*.py' -exec cat {} + | sort | cksum; echo "${options[@]+"${options[@]}"}")
if [ -e "$work_dir/settings" ] && [ "$(cat "$work_dir/settings")" != "$settings" ]; then
  aside=$work_dir.$(date +%Y%m%d-%H%M%S)
  mv "$work_dir" "$aside"
  echo "    $work_dir held a training with other settings, now in $aside"
fi
{ mkdir -p "$work_dir" && printf '%s\n' "$settings" >"$work_dir/settings"; } 2>/dev/null ||
  fail "$work_dir: cannot be written (is the disk full, or the folder not yours?)"

heading "data: $data"
shown "$work_dir/data.log" '^(wrote|[0-9]+/|.*already holds)' \
  "$python" tools/dataset_converters/synthetic.py --level easy --out "$data" ${images[@]+"${images[@]}"}

heading "training: $config"
if [ -e "$work_dir/finished" ] && [ -e "$(last_checkpoint)" ]; then
  echo "    finished earlier: $(last_checkpoint)"
else
  launch=("$python" tools/train.py "$config" ${device[@]+"${device[@]}"})
  processes=$(cpu_processes)
  if [ "${processes:-1}" -gt 1 ]; then
    launch=(env PYTHON="$python" bash tools/dist_train.sh "$config" "$processes" --device cpu)
    options=(--cfg-options train_dataloader.batch_size=$((32 / processes)) train_dataloader.num_workers=1 ${options[@]+"${options[@]:1}"})
  fi
  shown "$work_dir/train.log" 'Epoch\(|scores at|The best checkpoint|[Rr]esumed' \
    "${launch[@]}" --work-dir "$work_dir" --data-root "$data" --resume ${options[@]+"${options[@]}"}
  : >"$work_dir/finished"
fi
checkpoint=$(find "$work_dir" -maxdepth 1 -name 'best_ref_oIoU_*.pth' | sort | tail -n 1)
checkpoint=${checkpoint:-$(last_checkpoint)}
[ -e "$checkpoint" ] || fail "$work_dir: the training left no checkpoint (all output: $work_dir/train.log)"

heading 'scores'
test_with() { # test_with NAME ARGUMENTS...: scores to NAME.json
  local name=$1
  shift
  shown "$work_dir/$name.log" 'Epoch\(test\).*eta|^(val|test).*resolution.*: ' "$python" tools/test.py "$config" "$checkpoint" --data-root "$data" \
    --work-dir "$work_dir/test" --metrics-out "$work_dir/$name.json" ${device[@]+"${device[@]}"} "$@"
}
test_with scores --split val testA testB --show-dir "$work_dir/images" --show-limit 8
echo '    once more with the expressions of each image exchanged'
test_with scores_swapped --split val --swap-expressions

heading 'done'
[ -z "$smoke" ] || echo '    a smoke run: every step works; a network trained on so little cannot score'
echo
"$python" tools/analysis_tools/score_table.py "$work_dir/scores.json" "$work_dir/scores_swapped.json"
printf '\ncheckpoint  %s\nlog         %s\npictures    %s\n' "$checkpoint" "$work_dir/train.log" "$work_dir/images"
