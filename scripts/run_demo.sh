#!/usr/bin/env bash
# Runs the whole demo on a machine with Python: virtual environment, generated street scenes, training, evaluation and
# visualization. Flags are passed to train.py and eval.py, e.g. --device_target GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh requirements.txt
config=config/ocrnet/ocrnet_demo.yml
python scripts/make_demo_data.py --output data/demo
python train.py --config $config "$@"
python eval.py --config $config --visualize True "$@"
