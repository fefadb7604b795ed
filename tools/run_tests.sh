#!/usr/bin/env bash
# Everything CI checks: ruff, mypy and pytest, in .venv, which is made where missing. Needs no network once that stands.
# usage: bash tools/run_tests.sh [pytest's arguments]
set -euo pipefail
# shellcheck source=tools/_environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

make_environment dev

sources=(mmmagnet tools configs tests setup.py)
summary='' failed=0
check() { # check NAME COMMAND...
  local name=$1 began=$SECONDS verdict=passed
  shift
  heading "$name"
  "$@" </dev/null || { verdict=FAILED; failed=1; }
  summary="$summary$(printf '%-12s %s in %d s' "$name" "$verdict" $((SECONDS - began)))"$'\n'
}
check 'ruff check' "$python" -m ruff check "${sources[@]}"
check 'ruff format' "$python" -m ruff format --check "${sources[@]}"
check 'mypy' "$python" -m mypy
check 'pytest' "$python" -m pytest -q --durations=15 --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"

printf '\n%s' "$summary"
trap - EXIT
exit "$failed"
