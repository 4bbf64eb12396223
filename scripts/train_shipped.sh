#!/usr/bin/env bash
# Train the forecasters that come with the package anew: the paper's LSTM on the load of each registered id.
# About ten minutes on one core. Usage: scripts/train_shipped.sh [FOLDER]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:-forecasters/pretrained}
podgym=${PODGYM:-.venv/bin/podgym}
mkdir -p "$folder"

train() { # WORKLOAD FEATURE
    "$podgym" forecast train --trace "$1" --features "$2" --model paper_lstm --seed 0 \
        --output "$folder/${1//:/-}.forecaster"
}
train high_load users
train burst users
train low_load users
train alibaba2018 rate_rps
for family in constant diurnal variable burst flash; do
    train "family:$family" rate_rps
done
train families rate_rps
