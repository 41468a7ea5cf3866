#!/usr/bin/env bash
# Train the depth network on one GPU. What it starts from is fetched first, on a machine with network access, and may
# then be carried to the GPU:
#   python runs/fetch_backbone.py cache/depth       ImageNet encoder (7 MB) and a photograph with true depth (2 MB)
#   python runs/fetch_photos.py cache/photos.zip    photographs for samples.png (5 MB)
#   scenes of the world engine in $WORLDS (train) and $WORLDS_VAL (held out): folders with rgb.npy, depth.npy and
#   cameras.npz; they may still be appearing: WAIT_SCENES (40) of them are waited for and read before the first step
# Every call lasts SECONDS_PER_CALL; a second call goes on from STATE. SCHEDULE is the training time of all calls.
# First check that everything runs: SECONDS_PER_CALL=60 RESERVE=35 STATE=/tmp/smoke bash runs/train_depth.sh OUT/smoke
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="${PYTHONPATH:-.}" PYTHONUNBUFFERED=1 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
exec python3 runs/train_depth.py \
  --worlds "${WORLDS:?folder of training scenes}" ${WORLDS_VAL:+--worlds-val "$WORLDS_VAL"} \
  --photos "${PHOTOS:-cache/photos.zip}" --backbone "${BACKBONE:-cache/depth/backbone.safetensors}" \
  --motorcycle "${MOTORCYCLE:-cache/depth/motorcycle.npz}" \
  --out "${1:?output folder}" --state "${STATE:-cache/depth_state}" --wait-scenes "${WAIT_SCENES:-40}" \
  --seconds "${SECONDS_PER_CALL:-300}" --reserve "${RESERVE:-35}" ${SCHEDULE:+--schedule-seconds "$SCHEDULE"} "${@:2}"
