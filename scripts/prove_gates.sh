#!/usr/bin/env bash
# A gate that cannot fail is no gate. Plant one fault per gate in a temporary copy of the tree, run the gate as
# `make` runs it, and demand that it fails and names the fault. Exit status 1 when a gate lets its fault pass.
#
# The copy borrows the repository's environment; PYTHONPATH makes its own modules win over the installed ones.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
venv=$(cd "${VENV:-.venv}" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/podgym-gates.XXXXXX")
trap 'rm -rf "$work"' EXIT
copy=$work/podgym
export PYTHONPATH=$copy PYTHONDONTWRITEBYTECODE=1 RUFF_OUTPUT_FORMAT=concise
weak=0

fresh_copy() {
    rm -rf "$copy" && mkdir "$copy"
    tar -cf - --exclude=./.venv --exclude=./.git --exclude=./results --exclude='*.egg-info' --exclude=__pycache__ \
        --exclude='./.*_cache' . | tar -xf - -C "$copy"
}

# prove WHAT TARGET PATTERN [MAKE_ARGUMENTS]: with the fault planted in $copy, `make TARGET` must fail and print
# a line that matches PATTERN. -o keeps make from installing the copy into the borrowed environment.
prove() {
    local what=$1 target=$2 pattern=$3 output status=0
    shift 3
    output=$(make -s -C "$copy" -o "$venv/.podgym-installed" VENV="$venv" "$target" "$@" 2>&1 </dev/null) || status=$?
    if [ "$status" -ne 0 ] && grep -qE -- "$pattern" <<<"$output"; then
        printf 'fails as it should: %s\n    $ make %s\n    %s\n' "$what" "$target${*:+ $*}" \
            "$(grep -m1 -E -- "$pattern" <<<"$output" | sed "s|$copy/||g; s/^ *//" | cut -c1-150)"
    else
        printf 'WEAK GATE: %s: make %s ended with status %d\n%s\n' "$what" "$target" "$status" "$output" >&2
        weak=1
    fi
}

# prove_test WHAT FILE PATTERN: the same with one test file, and without the coverage floor, which would fail too.
prove_test() {
    prove "$1" unit "$3" COVERAGE_FLOOR=0 PYTEST_ARGS="$2"
}

fresh_copy
printf '"""Planted."""\n\nimport json\n' >"$copy/envs/planted.py"
prove "lint: an import that is not used" lint 'planted\.py.*F401'

printf '"""Planted."""\n\nfrom envs import cluster as cluster\n' >"$copy/envs/planted.py"
prove "lint: an import that does not start at podgym" lint 'planted\.py.*TID251'

printf '"""Planted."""\n\nfrom . import cluster as cluster\n' >"$copy/envs/planted.py"
prove "lint: a relative import" lint 'planted\.py.*TID252'

printf '"""Planted."""\n\nassert True\n' >"$copy/envs/planted.py"
prove "lint: an assert outside the tests" lint 'planted\.py.*S101'

printf '"""Planted."""\n\nNAMES = [ "a" ]\n' >"$copy/envs/planted.py"
prove "format: spaces inside a list" format-check 'planted\.py'

printf '"""Planted."""\n\nCOUNT: int = "one"\n' >"$copy/envs/planted.py"
prove "types: text where a number is declared" typecheck 'planted\.py.*\[assignment\]'

printf '"""Planted."""\n\n\ndef double(x):\n    return 2 * x\n' >"$copy/envs/planted.py"
prove "types: a function without annotations" typecheck 'planted\.py.*\[no-untyped-def\]'

printf '"""Planted."""\n\nimport podgym.baselines\n' >"$copy/envs/planted.py"
prove "layers: an environment that imports a baseline" layers 'podgym\.envs\.planted -> podgym\.baselines'

for library in numba torch stable_baselines3 sb3_contrib kubernetes statsmodels onnxruntime deap optuna; do
    printf '"""Planted."""\n\n\ndef late() -> None:\n    import %s\n' $library >"$copy/eval/planted.py"
    prove "layers: $library where it is not allowed" layers "podgym\.eval\.planted -> $library"
done

fresh_copy
printf 'import warnings\n\n\ndef test_planted():\n    warnings.warn("planted")\n' >"$copy/tests/test_planted.py"
prove_test "tests: a warning is an error" tests/test_planted.py 'UserWarning: planted'

printf 'def test_planted():\n    assert 1 + 1 == 3\n' >"$copy/tests/test_planted.py"
prove_test "tests: a wrong result" tests/test_planted.py '1 failed'

printf 'import pytest\n\n\n@pytest.mark.slwo\ndef test_planted():\n    pass\n' >"$copy/tests/test_planted.py"
prove_test "tests: a marker that is not registered" tests/test_planted.py "'slwo' not found"

printf 'import pytest\n\n\n@pytest.mark.xfail\ndef test_planted():\n    pass\n' >"$copy/tests/test_planted.py"
prove_test "tests: an expected failure that passes" tests/test_planted.py 'XPASS\(strict\)'

printf 'import time\n\n\ndef test_planted():\n    time.sleep(30)\n' >"$copy/tests/test_planted.py"
sed -i 's/^timeout = .*/timeout = 1/' "$copy/pyproject.toml"
prove_test "tests: a test that hangs (the limit shortened to 1 s)" tests/test_planted.py 'Timeout \(>1'

fresh_copy
printf 'def test_planted():\n    import podgym.envs.cluster\n' >"$copy/tests/test_planted.py"
prove "coverage: below the floor, and above zero, so that it sees through the links" unit \
    'Required test coverage of [0-9]+% not reached. Total coverage: (0\.[0-9]*[1-9]|[1-9])' \
    PYTEST_ARGS=tests/test_planted.py

fresh_copy
printf '\nimport pandas\n' >>"$copy/podgym/errors.py"
printf '\nimport podgym.errors\n' >>"$copy/podgym/__init__.py"
prove_test "import cost: a heavy library imported by podgym" tests/test_import_cost.py \
    "AssertionError: \['pandas'"

fresh_copy
printf '\n__all__ = ["Absent"]\n' >>"$copy/eval/__init__.py"
prove_test "exports: a name in __all__ that does not exist" tests/test_exported_members.py \
    "\['Absent'\] == \[\]"

fresh_copy
rm "$copy/podgym/envs"
prove_test "layout: a link is missing" tests/test_layout.py '^FAILED.*test_every_top_folder_is_linked'

fresh_copy
mkdir "$copy/envs/planted" && printf '"""Planted."""\n' >"$copy/envs/planted/__init__.py"
prove_test "layout: a package that is not listed" tests/test_layout.py \
    '^FAILED.*test_every_package_folder_is_installed'
prove "wheel: a package that is not listed" wheel-test 'check_wheel: not in the wheel.*planted/__init__\.py'

fresh_copy
sed -i '/^"podgym.eval" = /d' "$copy/pyproject.toml"
prove_test "layout: a package that is not mapped" tests/test_layout.py '^FAILED.*test_every_package_is_mapped'

fresh_copy
sed -i -e 's/^packages = \[$/packages = [ "train",/' -e 's/^"podgym" = "podgym"$/&\n"train" = "train"/' \
    "$copy/pyproject.toml"
prove "wheel: a top-level name other than podgym" wheel-test 'check_wheel: installs a top-level name .* train'

[ "$weak" -eq 0 ] && echo "every gate failed on its fault"
exit "$weak"
