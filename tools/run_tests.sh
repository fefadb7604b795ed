#!/usr/bin/env bash
# Check what CI checks: ruff, mypy and pytest, in .venv, which is made where missing.
# usage: bash tools/run_tests.sh [--all] [arguments of pytest]
#   --all   the slow tests, too: processes, Slurm, fuzzing, kills; and the docs site
set -euo pipefail
# shellcheck source=tools/_environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
marks=(-m 'not slow') site=''
if [ "${1:-}" = --all ]; then
  marks=() site=1
  shift
fi
make_environment onedl,dev torch mmseg transformers ruff mypy pytest xdist hypothesis
cd "$root"

summary='' failed=0
check() { # check NAME COMMAND...
  local name=$1 began=$SECONDS verdict=passed
  shift
  printf '==> %s\n' "$name"
  "$python" -m "$@" </dev/null || { verdict=FAILED; failed=1; }
  summary="$summary$(printf '%-12s %s in %d s' "$name" "$verdict" $((SECONDS - began)))"$'\n'
}
check 'ruff check' ruff check .
check 'ruff format' ruff format --check .
check 'mypy' mypy
[ -z "$site" ] || NO_MKDOCS_2_WARNING=1 check 'mkdocs' mkdocs build --strict --quiet --site-dir "$(mktemp -d)"
check 'pytest' pytest -q --durations=15 --numprocesses auto --maxprocesses 4 --max-worker-restart 0 \
  --dist loadfile --no-loadscope-reorder ${marks[@]+"${marks[@]}"} "$@"

printf '\n%s' "$summary"
exit "$failed"
