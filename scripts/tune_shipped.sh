#!/usr/bin/env bash
# Tune every controller that has a search space for every registered id, and write baselines/tuned.json, which
# comes with the package. Control intervals per search: 100,000 for the scenarios; 300,000 for the trace, whose
# hours differ most; 30,000 for the boutique, whose eleven services make a step ten times as long. Half as many
# again where a range proves too narrow. The rule, a network with 92 weights, gets what a policy gets: five searches
# of 4,000,000 each, of which the best on dev is kept; on the boutique one of 30,000 like the others. About three
# and a half hours of processor time. A search that was interrupted goes on where it stopped.
#
# Usage: scripts/tune_shipped.sh [FOLDER]       ledgers and results (default: results/tuning)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:-results/tuning}
bin=${VENV:-.venv}/bin
controllers=$("$bin/python" -c \
    'from podgym.baselines.search_spaces import SEARCH_SPACES; print(*SEARCH_SPACES)')

for environment in HighLoad Burst LowLoad Trace FamilyConstant FamilyDiurnal FamilyVariable FamilyBurst FamilyFlash \
    Families Boutique; do
    budget=100000
    [ "$environment" = Trace ] && budget=300000
    [ "$environment" = Boutique ] && budget=30000
    for controller in $controllers; do
        "$bin/podgym" tune "$controller" --env "podgym/$environment-v0" --budget "$budget" \
            --processes "$(nproc)" --resume --output "$folder/$environment-v0-$controller"
    done
    seeds=(0 1 2 3 4) budget=4000000
    [ "$environment" = Boutique ] && seeds=(0) budget=30000
    for seed in "${seeds[@]}"; do
        "$bin/podgym" tune rule --env "podgym/$environment-v0" --budget "$budget" --seed "$seed" \
            --resume --output "$folder/$environment-v0-rule-seed$seed"
    done
done
"$bin/python" - "$folder" <<'PYTHON'
import gzip
import sys
from pathlib import Path

from podgym.baselines.tuned import parse_tuned
from podgym.eval.tuning.ship import ship

folder, tuned, ledgers = Path(sys.argv[1]), Path("baselines/tuned.json"), Path("baselines/ledgers")
ship(sorted(folder.glob("*/result.json")), tuned)
for entry in parse_tuned(tuned.read_text()).values():  # the ledger of the search that was kept
    name = f"{entry.environment.removeprefix('podgym/')}-{entry.controller}"
    seed = f"-seed{entry.ledger['seed']}" if entry.controller == "rule" else ""
    source = folder / f"{name}{seed}" / "ledger.jsonl"
    if source.exists():
        (ledgers / f"{name}.jsonl.gz").write_bytes(gzip.compress(source.read_bytes(), mtime=0))
PYTHON
