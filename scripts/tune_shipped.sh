#!/usr/bin/env bash
# Tune every controller that has a search space for every registered id, and write baselines/tuned.json, which
# comes with the package. Control intervals per search: 100,000 for the scenarios; 300,000 for the trace, whose
# hours differ most; 30,000 for the boutique, whose eleven services make a step ten times as long. Half as many
# again where a range proves too narrow. About three hours of processor time. A search that was interrupted goes on
# where it stopped.
#
# Usage: scripts/tune_shipped.sh [FOLDER]       ledgers and results (default: results/tuning)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:-results/tuning}
bin=${VENV:-.venv}/bin
controllers=$("$bin/python" -c \
    'from podgym.baselines.search_spaces import SEARCH_SPACES; print(*SEARCH_SPACES, "rule")')

for environment in HighLoad Burst LowLoad Trace FamilyConstant FamilyDiurnal FamilyVariable FamilyBurst FamilyFlash Boutique; do
    budget=100000
    [ "$environment" = Trace ] && budget=300000
    [ "$environment" = Boutique ] && budget=30000
    for controller in $controllers; do
        "$bin/podgym" tune "$controller" --env "podgym/$environment-v0" --budget "$budget" \
            --processes "$(nproc)" --resume --output "$folder/$environment-v0-$controller"
    done
done
"$bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

from podgym.eval.tuning.ship import ship

ship(sorted(Path(sys.argv[1]).glob("*/result.json")), Path("baselines/tuned.json"))
PYTHON
for ledger in "$folder"/*/ledger.jsonl; do
    gzip -9nc "$ledger" >"baselines/ledgers/$(basename "$(dirname "$ledger")").jsonl.gz"
done
