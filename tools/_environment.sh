# shellcheck shell=bash
# The environment of quickstart.sh and run_tests.sh: .venv, made where missing. Bash 3.2 is enough.
#   PYTHON         the interpreter that makes .venv (default: the first one that is new enough)
#   MMMAGNET_VENV  an environment to use instead, which is never changed

unset CDPATH # `cd` would look there first
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# OpenMP's threads spin while they wait by default: on a busy machine a training step then takes twenty times as long.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}" PYTHONUNBUFFERED=1
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" # this checkout, in whatever environment

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' </dev/null >/dev/null 2>&1; }

# find_python: print what PYTHON names, or the first interpreter that runs and is new enough.
find_python() {
  local name
  if [ -n "${PYTHON:-}" ]; then
    command -v "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON: no such interpreter"
    is_new_enough "$PYTHON" || fail "Python 3.10 or newer is needed; PYTHON=$PYTHON is $("$PYTHON" --version 2>&1)"
    echo "$PYTHON"
    return
  fi
  for name in python3.13 python3.12 python3.11 python3.10 python3 python; do
    if is_new_enough "$name"; then
      echo "$name"
      return
    fi
  done
  fail 'Python 3.10 or newer is needed and none is on the PATH; install one, or name one by PYTHON=/path/to/python'
}

# make_environment EXTRAS MODULE...: set `python` to an interpreter that has the package's EXTRAS, and so the MODULEs.
make_environment() {
  local extras=$1 stamp=$root/.venv/mmmagnet.stamp wanted base
  shift
  if [ -n "${MMMAGNET_VENV:-}" ]; then
    python=$MMMAGNET_VENV/bin/python
    [ -x "$python" ] || fail "MMMAGNET_VENV=$MMMAGNET_VENV: no bin/python there"
    is_new_enough "$python" || fail "Python 3.10 or newer is needed; MMMAGNET_VENV has $("$python" --version 2>&1)"
    "$python" -c 'import sys; from importlib.util import find_spec as f; sys.exit(not all(map(f, sys.argv[1:])))' "$@" ||
      fail "MMMAGNET_VENV=$MMMAGNET_VENV lacks one of $*: run $python -m pip install -e '${root}[$extras]'"
    return
  fi
  python=$root/.venv/bin/python
  wanted="$root $(cat "$root/requirements.txt" "$root/setup.py" | cksum)"
  case $(cat "$stamp" 2>/dev/null) in "$wanted $extras" | "$wanted onedl,dev") return ;; esac # the latter has all
  echo "==> installing PyTorch, OpenMMLab and Transformers into .venv (some minutes)"
  if [ ! -e "$root/.venv" ]; then
    base=$(find_python) || exit
    "$base" -m venv "$root/.venv" || {
      rm -rf "$root/.venv"
      fail "$base cannot make $root/.venv (see above)"
    }
  fi
  "$python" -m pip --version >/dev/null 2>&1 || fail ".venv has no pip: remove it, or use it as it is by MMMAGNET_VENV=$root/.venv"
  "$python" -m pip install --disable-pip-version-check -e "${root}[$extras]" ||
    fail 'the installation failed (see above); the same command goes on from there'
  echo "$wanted $extras" >"$stamp"
}
