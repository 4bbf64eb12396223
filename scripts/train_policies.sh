#!/usr/bin/env bash
# Train the policies behind the published results: five training seeds for every id with one service, one of the
# generalist on all families. A run that was interrupted goes on where it stopped; one that is finished is kept.
# About three hours on one core.
# Usage: scripts/train_policies.sh [FOLDER [ENVIRONMENT...]]       runs (default: results/policies)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:-results/policies}
shift || true
podgym=${PODGYM:-.venv/bin/podgym}
environments=("$@")
[ $# -gt 0 ] || environments=(FamilyConstant FamilyDiurnal FamilyVariable FamilyBurst FamilyFlash Trace HighLoad Burst
    LowLoad Families)

for seed in 0 1 2 3 4; do
    for environment in "${environments[@]}"; do
        [ "$environment" = Families ] && [ "$seed" -gt 0 ] && continue
        "$podgym" train --env "podgym/$environment-v0" --algo ppo --seed "$seed" --logdir "$folder" --resume
    done
done
