# shellcheck shell=bash
# Functions shared by quickstart.sh and run_tests.sh: the environment in .venv, and commands whose failure is one line.
# Sourcing it changes to the project's root. Bash 3.2 is enough.

# A path that the caller gave is of the folder of the call.
case ${MMMAGNET_VENV:-} in '' | /*) ;; *) export MMMAGNET_VENV=$PWD/$MMMAGNET_VENV ;; esac
case ${PYTHON:-} in /*) ;; */*) PYTHON=$PWD/$PYTHON ;; esac
unset CDPATH # `cd` would look there first
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

# OpenMP's threads spin while they wait by default: on a busy machine a training step then takes twenty times as long.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}" PYTHONUNBUFFERED=1
# This checkout, in whatever environment.
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

running_pid=''
step='starting'

fail() {
  printf 'error: %s\n' "$*" >&2
  trap - EXIT
  exit 1
}

heading() {
  step=$1
  printf '==> %s\n' "$step"
}

# The last word when something ends the script that has not said why itself.
on_exit() {
  local status=$?
  [ -z "$running_pid" ] || kill -- "$running_pid" 2>/dev/null || true
  [ "$status" -eq 0 ] || printf 'error: stopped at the step "%s"; the same command goes on from there\n' "$step" >&2
}
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

is_new_enough() { "$@" -c 'import sys; sys.exit(sys.version_info < (3, 10))' </dev/null >/dev/null 2>&1; }

# Sets `base_python`: what PYTHON names, or the first interpreter that runs and is new enough.
find_python() {
  local name
  if [ -n "${PYTHON:-}" ]; then
    command -v "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON: no such interpreter"
    is_new_enough "$PYTHON" || fail "Python 3.10 or newer is needed; PYTHON=$PYTHON is $("$PYTHON" --version 2>&1)"
    base_python=$PYTHON
    return
  fi
  for name in python3.13 python3.12 python3.11 python3.10 python3 python; do
    if is_new_enough "$name"; then
      base_python=$name
      return
    fi
  done
  name=$(python3 --version 2>&1 || python --version 2>&1) || name='none'
  fail "Python 3.10 or newer is needed, found: $name; install one, or name one by PYTHON=/path/to/python"
}

free_megabytes() { df -Pk "$1" | awk 'NR == 2 { print int($4 / 1024) }'; }

# need_space FOLDER MEGABYTES WHAT
need_space() {
  local free
  free=$(free_megabytes "$1")
  [ "$free" -ge "$2" ] || fail "no disk space: $1 has $free MB free, $3 needs about $2 MB"
}

# explain STATUS LOG: ends the script with one line on why the current step failed.
explain() {
  local cause
  if [ "$1" -ge 128 ]; then
    exit "$1"
  fi
  if grep -qE 'No space left on device|Disk quota exceeded' "$2" 2>/dev/null || [ "$(free_megabytes "$(dirname "$2")")" -lt 1 ]; then
    cause='no disk space is left'
  elif grep -qE 'NewConnectionError|Failed to establish|Name or service not known|name resolution|Network is unreachable|ConnectionResetError|ConnectTimeout|ReadTimeout|ProxyError|Connection refused|\(from versions: none\)' "$2"; then
    cause='no network, or no package registry at the address that pip uses'
  else
    cause=$(grep -E '^(error|ERROR|[A-Za-z.]*(Error|Exception)):? ' "$2" | tail -n 1 | cut -c1-200) || true
    cause=${cause:-"exit status $1"}
  fi
  fail "$step: ${cause#error: } (all output: $2)"
}

# quietly LOG COMMAND...: its output goes to LOG, a sign of life to the terminal.
quietly() {
  local log=$1 began=$SECONDS shown=0 status=0 elapsed
  shift
  "$@" >>"$log" 2>&1 </dev/null &
  running_pid=$!
  while kill -0 "$running_pid" 2>/dev/null; do
    sleep 1
    elapsed=$((SECONDS - began))
    if [ -t 1 ]; then
      printf '\r\033[K    %d s: %s' "$elapsed" "$(tail -n 1 "$log" | tr -d '\r' | cut -c1-70)"
    elif [ $((elapsed - shown)) -ge 20 ]; then
      shown=$elapsed
      printf '    %d s: %s\n' "$elapsed" "$(tail -n 1 "$log" | tr -d '\r' | cut -c1-100)"
    fi
  done
  [ ! -t 1 ] || printf '\r\033[K'
  wait "$running_pid" || status=$?
  running_pid=''
  [ "$status" -eq 0 ] || explain "$status" "$log"
}

pip_install() { "$python" -m pip install --disable-pip-version-check --progress-bar off "$@"; }

stamp_text() { printf '%s\n' "$PWD" && cat requirements.txt setup.py | cksum; }

# has_stamp KIND: whether .venv was finished for it from the present requirements.
has_stamp() { [ "$(cat ".venv/mmmagnet-$1.stamp" 2>/dev/null)" = "$(stamp_text)" ] && is_new_enough .venv/bin/python; }

# make_environment KIND: sets `python`. KIND is `run` (what training needs) or `dev` (what the tests need besides).
make_environment() {
  heading 'environment'
  if [ -n "${MMMAGNET_VENV:-}" ]; then
    use_environment "$1"
    return
  fi
  python=$PWD/.venv/bin/python
  if has_stamp "$1" || has_stamp dev; then
    echo '    as it stands: .venv'
    return
  fi
  local log=$PWD/.venv/install.log project=.
  [ "$1" = run ] || project=".[$1]"
  if ! "$python" -m pip --version >/dev/null 2>&1; then
    make_venv "$log"
  fi
  is_new_enough "$python" || fail "Python 3.10 or newer is needed, .venv holds $("$python" --version 2>&1): remove .venv"
  : >"$log" || fail "$log: cannot be written"
  echo '    1 of 3: build tools'
  quietly "$log" pip_install 'setuptools>=77.0.3,<82'
  echo '    2 of 3: PyTorch, OpenMMLab, Transformers (some minutes the first time)'
  quietly "$log" pip_install -r requirements.txt
  echo '    3 of 3: mmmagnet'
  quietly "$log" pip_install --no-build-isolation -e "$project"
  stamp_text >".venv/mmmagnet-$1.stamp"
}

# make_venv LOG: .venv anew, with pip in it.
make_venv() {
  find_python
  echo "    making .venv with $("$base_python" --version 2>&1)"
  need_space "$PWD" 3000 'the environment'
  "$base_python" -c 'import venv' 2>/dev/null || fail "$base_python has no venv module: install it (Debian and Ubuntu: python3-venv)"
  if [ -e .venv ] && [ ! -e "$1" ] && ! rmdir .venv 2>/dev/null; then
    fail '.venv has no pip, and another program made it: remove it, or name it by MMMAGNET_VENV=.venv to have it used'
  fi
  rm -rf .venv # what is left of one that was not finished
  { mkdir .venv && : >"$1"; } || fail "$PWD: cannot be written"
  if "$base_python" -c 'import ensurepip' 2>/dev/null; then
    quietly "$1" "$base_python" -m venv .venv
  elif "$base_python" -m pip --version >/dev/null 2>&1; then
    quietly "$1" "$base_python" -m venv --without-pip .venv
    quietly "$1" "$base_python" -m pip --python .venv/bin/python install --disable-pip-version-check pip
  else
    fail "$base_python has neither ensurepip nor pip: install one (Debian and Ubuntu: python3-venv)"
  fi
}

# use_environment KIND: the one that MMMAGNET_VENV names, never changed.
use_environment() {
  local names=(torch transformers numpy PIL cv2 pycocotools mmengine mmcv mmseg) missing
  [ "$1" = run ] || names+=(ruff mypy pytest xdist hypothesis)
  python=$MMMAGNET_VENV/bin/python
  [ -x "$python" ] || fail "MMMAGNET_VENV=$MMMAGNET_VENV: no bin/python there"
  is_new_enough "$python" || fail "Python 3.10 or newer is needed; MMMAGNET_VENV holds $("$python" --version 2>&1)"
  missing=$("$python" -c 'import sys; from importlib.util import find_spec; print(*[name for name in sys.argv[1:] if not find_spec(name)])' "${names[@]}")
  [ -z "$missing" ] || fail "MMMAGNET_VENV=$MMMAGNET_VENV lacks $missing: install requirements.txt there, or unset it to have .venv made"
  echo "    as it stands: $MMMAGNET_VENV"
}
