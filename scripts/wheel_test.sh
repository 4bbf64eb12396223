#!/usr/bin/env bash
# Build the sdist and from it the wheel, install the wheel in a fresh environment outside the repository, and
# run the tests there against it. What works only in a checkout (a package that is not listed, a data file that
# is not shipped, an import that leans on the current folder) fails here.
#
# The environment holds what a user gets (no torch, no stable-baselines3: their tests skip themselves) and the
# test tools. Tests that need the source tree are marked source_tree and left out.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
venv=$(cd "${VENV:-.venv}" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/podgym-wheel.XXXXXX")
trap 'rm -rf "$work"' EXIT

"$venv/bin/python" -m build --outdir "$work/dist" . >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }
wheel=$(echo "$work"/dist/*.whl)
"$venv/bin/python" scripts/check_wheel.py "$wheel"
echo "built and checked $(basename "$wheel")"

"$venv/bin/python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -qq -c constraints.txt "$wheel" \
    hypothesis pytest pytest-timeout pytest-xdist scipy simpy

cp -R tests pyproject.toml "$work/"
if [ -z "${PODGYM_SHARED:-}" ] && [ -d "$root/../shared" ]; then
    PODGYM_SHARED=$(cd "$root/../shared" && pwd)
    export PODGYM_SHARED
fi
unset PYTHONPATH
cd "$work"
venv/bin/python - <<'PYTHON'
import importlib.util
import sys
from pathlib import Path

import podgym

if not Path(podgym.__file__).is_relative_to(sys.prefix):
    sys.exit(f"podgym was imported from {podgym.__file__}, not from the wheel")
generic = ("envs", "agents", "forecasters", "baselines", "train", "eval", "cli")
if installed := [name for name in generic if importlib.util.find_spec(name)]:
    sys.exit(f"the wheel installs generic top-level packages: {installed}")
PYTHON
venv/bin/podgym --help >/dev/null
venv/bin/python -m pytest -q -n auto --dist loadfile -m "not source_tree" tests
