#!/usr/bin/env bash
# Train the mini denoiser (the camera-controlled video diffusion model) on one or several GPUs: bash runs/train_denoiser.sh OUT
# Needs the packages of the extra `teacher` and:
#   $WORLDS       scenes of the world engine; they may still be appearing (rendered by other processes) while this runs
#   $WORLDS_VAL   held-out scenes (optional: else 4 % of $WORLDS by name are kept from training)
#   $CODEC        folder of the codec trained by runs/train_codec.sh
#   $PHOTOS       photographs from runs/fetch_photos.py (default cache/photos.zip)
#   $LPIPS        LPIPS weights for the evaluation (optional), from python -m lyra.metrics.lpips_weights cache/lpips
#   $GPUS         number of GPUs (default 1)
# One call lasts SECONDS_PER_CALL; the first 70 % of the training denoise, the rest learns few steps. A second call with
# the same STATE goes on; then give both the same SCHEDULE (seconds of training over all calls).
# First check that everything runs: SECONDS_PER_CALL=150 RESERVE=50 STATE=/tmp/smoke bash runs/train_denoiser.sh /tmp/smoke_out
# More options go behind OUT: --no-compile --batch 48 (memory), --keep 200 (small disk), --sigmas 20 2 0.7 0.25, --pace
# 15 (fewer new clips a second, which leaves more of the GPU to training), --adversarial 0.5 (against softness), ...
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="${PYTHONPATH:-.}" PYTHONUNBUFFERED=1 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
if [ "${GPUS:-1}" -gt 1 ]; then
  start=(python3 -m torch.distributed.run --standalone --nproc-per-node "$GPUS")
else
  start=(python3)
fi
exec "${start[@]}" runs/train_denoiser.py \
  --worlds "${WORLDS:?folder of training scenes}" ${WORLDS_VAL:+--worlds-val "$WORLDS_VAL"} \
  --codec "${CODEC:?folder of the trained codec}" --photos "${PHOTOS:-cache/photos.zip}" ${LPIPS:+--lpips "$LPIPS"} \
  --out "${1:?output folder}" --state "${STATE:-cache/denoiser_state}" \
  --seconds "${SECONDS_PER_CALL:-560}" --reserve "${RESERVE:-75}" ${SCHEDULE:+--schedule-seconds "$SCHEDULE"} "${@:2}"
