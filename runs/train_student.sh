#!/usr/bin/env bash
# Train the splat decoder on one or several GPUs from the teacher's own samples. Needs the extras `teacher` and `cuda`;
# before it: the codec, depth and denoiser runs, the LPIPS weights (python -m lyra.metrics.lpips_weights cache/lpips),
# rendered scenes in $WORLDS. Without $DENOISER the warps themselves are the teacher (draft).
#   WORLDS=... CODEC=out/codec DENOISER=out/denoiser DEPTH=out/depth bash runs/train_student.sh OUT
# Every call lasts SECONDS_PER_CALL; a second call goes on from $STATE. SCHEDULE is the training time of all calls.
# GUIDE=1 trains a student that is also given the depth of the warped cache (lyra/decoder/guide.py).
# MOVING=0.3 makes that share of the samples from rendered scenes that move, for a student that knows times too.
# First check that everything runs: SECONDS_PER_CALL=90 RESERVE=40 FILL=10 STATE=/tmp/smoke bash runs/train_student.sh OUT/smoke
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="${PYTHONPATH:-.}" PYTHONUNBUFFERED=1 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True OMP_NUM_THREADS="${OMP_NUM_THREADS:-8}"
GPUS="${GPUS:-$(python3 -c 'import torch; print(max(1, torch.cuda.device_count()))')}"
START=(python3)
if [ "$GPUS" -gt 1 ]; then START=(python3 -m torch.distributed.run --standalone --nproc-per-node "$GPUS"); fi
exec "${START[@]}" runs/train_student.py \
  --worlds "${WORLDS:?folder of rendered scenes}" ${WORLDS_VAL:+--worlds-val "$WORLDS_VAL"} \
  --eval-worlds "${EVAL_WORLDS:-tests/assets/eval_worlds}" ${PHOTOS:+--photos "$PHOTOS"} \
  --codec "${CODEC:?weights of the codec}" ${DENOISER:+--denoiser "$DENOISER"} ${DEPTH:+--depth "$DEPTH"} \
  --lpips "${LPIPS:-cache/lpips/lpips_vgg_fp16.safetensors}" \
  --out "${1:?output folder}" --state "${STATE:-cache/student_state}" \
  --seconds "${SECONDS_PER_CALL:-480}" --reserve "${RESERVE:-60}" --fill-seconds "${FILL:-60}" \
  ${SAMPLER_STEPS:+--sampler-steps "$SAMPLER_STEPS"} ${SCHEDULE:+--schedule-seconds "$SCHEDULE"} \
  ${GUIDE:+--guide} ${MOVING:+--moving "$MOVING"} "${@:2}"
