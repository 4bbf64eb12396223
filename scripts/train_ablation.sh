#!/usr/bin/env bash
# Train the variants that `podgym evaluate --protocol ablation` compares: what plan, forecast, prior and quotas each
# contribute, at equal frames, three training seeds each (two where the forecast is crossed with the plan): all on the
# burst family, what concerns the plan on the trace too. A run that was interrupted goes on where it stopped; one that
# is finished is kept. About an hour and a half on one core.
# Usage: scripts/train_ablation.sh [FOLDER [VARIANT...]]       runs (default: results/ablation)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:-results/ablation}
shift || true
podgym=${PODGYM:-.venv/bin/podgym}
frames=2000000

no_plan=(planner=null prior=null reference=none)
declare -A variants=(
    [prior]=""
    [prior-naive]="forecaster=naive"
    [prior-oracle]="forecaster=oracle"
    [no-plan]="${no_plan[*]}"
    [no-plan-naive]="${no_plan[*]} forecaster=naive"
    [no-plan-oracle]="${no_plan[*]} forecaster=oracle"
    [observed]="prior=null"
    [first-action]="prior=null env_kwargs.action.first_action=plan"
    [cloned]="prior=null clone.controller=lstm_ga"
    [residual]="prior=null env_kwargs.action.mode=residual"
    [quotas]="env_kwargs.action.quotas=true"
    [no-plan-quotas]="${no_plan[*]} env_kwargs.action.quotas=true"
    [no-reference]="reference=none"
    [no-future]="critic_future_steps=0"
)
wanted=("$@")
[ $# -gt 0 ] || wanted=(prior no-plan observed first-action cloned residual quotas no-plan-quotas prior-naive
    no-plan-naive prior-oracle no-plan-oracle no-reference no-future)

train() { # ENVIRONMENT VARIANT SEED
    local changes=()
    for change in ${variants[$2]}; do changes+=(--set "$change"); done
    "$podgym" train --env "podgym/$1-v0" --algo ppo --seed "$3" --total-steps "$frames" \
        --logdir "$folder/$2" --resume "${changes[@]}"
}

for seed in 0 1 2; do
    for variant in "${wanted[@]}"; do
        case $variant in
            *-naive | *-oracle) [ "$seed" -eq 2 ] || train FamilyBurst "$variant" "$seed" ;;
            prior | no-plan | observed | first-action)
                train FamilyBurst "$variant" "$seed"
                train Trace "$variant" "$seed"
                ;;
            *) train FamilyBurst "$variant" "$seed" ;;
        esac
    done
done
