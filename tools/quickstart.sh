#!/usr/bin/env bash
# From a fresh clone to a trained network: the environment, then quickstart.py. See `bash tools/quickstart.sh --help`.
set -euo pipefail
# shellcheck source=tools/_environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
quickstart=$root/tools/quickstart.py
python=${MMMAGNET_VENV:+$MMMAGNET_VENV/bin/python}
case " $* " in *' -h '* | *' --help '*) exec "${python:-$(find_python)}" "$quickstart" --help ;; esac
if [ -z "$python" ]; then # a mistake in the arguments shows before anything is installed
  python=$(find_python)
  "$python" "$quickstart" "$@" --parse-only
fi
make_environment onedl torch mmengine mmcv mmseg transformers pycocotools
exec "$python" "$quickstart" "$@"
