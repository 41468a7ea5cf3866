#!/usr/bin/env bash
# Train the whole mini model within a wall-clock budget, on one GPU, two GPUs, or (tiny presets) a CPU:
#   PACKS=packs BUDGET=1500 STATE=cache/mini bash runs/train_mini.sh OUT
# Rooms and levels are rendered in the background until there are SCENES; training reads them as they appear. While a GPU
# renders, it trains a hundred times slower (4 instead of 750 images a second, docs/log.md), so rendering must end early.
# With two GPUs the depth network, then the codec learn on the first one while the denoiser learns on the second; the
# student comes last, on both. With one GPU they follow one another.
#   START      weights to go on from (default: the shipped ones). The codec's encoder then stays as it is (only its
#              decoder learns), so latents stay valid and the denoiser need not wait. START= trains all from nothing.
#   CODEC, DEPTH, DENOISER, STUDENT   seconds of the stages; shares of BUDGET by default. 0 leaves a stage out
#   SCENES     scenes to learn from (86 MB each, those that move 178); 25 processes made 249 in 69 s
#   VAL        held-out scenes
#   WORKERS    processes that render; they have lower priority than training
#   PHOTOS, LPIPS, BACKBONE   as in the other runs/train_*.sh
#   CODEC_ARGS, DEPTH_ARGS, DENOISER_ARGS, STUDENT_ARGS, RENDER_ARGS   further options
# OUT/{codec,depth,denoiser,student} hold each stage's weights once a minute, metrics and samples at its end; OUT/*.log
# what it printed. A stage that is killed is started once more and goes on from its checkpoint; if it fails again, the
# others use the weights of START in its place. After a kill of everything, the same call with the same STATE goes on:
# finished stages are left out.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT="${1:?output folder}" STATE="${STATE:-cache/mini}" START="${START-lyra/weights/mini}" BUDGET="${BUDGET:-1500}"
SCENES="${SCENES:-400}" WORKERS="${WORKERS:-$(($(nproc) > 8 ? $(nproc) - 6 : 1))}" RESERVE="${RESERVE:-45}"
PHOTOS="${PHOTOS-cache/photos.zip}" LPIPS="${LPIPS:-cache/lpips/lpips_vgg_fp16.safetensors}"
GPUS="${GPUS:-$(python3 -c 'import torch; print(max(1, torch.cuda.device_count()))')}"
export PYTHONPATH="${PYTHONPATH:-.}" PYTHONUNBUFFERED=1 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"
WORLDS="$STATE/worlds" HELD_OUT="$STATE/worlds_val"
mkdir -p "$OUT" "$WORLDS" "$HELD_OUT"
if [ "$GPUS" -gt 1 ]; then one=0 other=1 all=0,1 lines=2; else one=0 other=0 all=0 lines=1; fi
before=$((BUDGET * 64 / 100)) shares=(35 20 45) # per cent of the time before the student
if [ "$lines" -eq 2 ] && [ -n "$START" ]; then shares=(70 30 100); fi
CODEC="${CODEC:-$((before * shares[0] / 100))}" DEPTH="${DEPTH:-$((before * shares[1] / 100))}"
DENOISER="${DENOISER:-$((before * shares[2] / 100))}" STUDENT="${STUDENT:-$((BUDGET * 30 / 100))}"

render() { # SPLIT FOLDER FIRST COUNT
  OMP_NUM_THREADS=1 nice -n 10 python3 -m worlds render --packs "${PACKS:?folder with the packs, or builtin}" \
    --split "$1" --out "$2" --first "$3" --scenes "$4" --workers "$WORKERS" --no-twin ${RENDER_ARGS:-}
}

film() { # the held-out scenes, then those to learn from, in rounds: starting the processes costs seconds each time
  [ -f "$HELD_OUT/index.jsonl" ] || render val "$HELD_OUT" 0 "${VAL:-24}"
  local first
  first=$(cat "$STATE/first" 2>/dev/null || echo 0)
  while [ "$(find "$WORLDS" -name scene.json | wc -l)" -lt "$SCENES" ]; do
    render train "$WORLDS" "$first" $((10 * WORKERS)) || return
    # index.jsonl lists what the last round made
    [ -s "$WORLDS/index.jsonl" ] || { echo "all scenes from $first on were left out: rendering stops"; return 1; }
    first=$((first + 10 * WORKERS))
    echo "$first" >"$STATE/first"
  done
}

scenes() { # wait until there are so many training scenes, at most SECONDS, and no longer than rendering goes on
  local until=$((SECONDS + $2))
  while [ "$(find "$WORLDS" -name scene.json | wc -l)" -lt "$1" ] || [ ! -f "$HELD_OUT/index.jsonl" ]; do
    ((SECONDS < until)) && kill -0 "$filming" 2>/dev/null || break
    sleep 1
  done
  [ -n "$(find "$WORLDS" -name scene.json -print -quit)" ] && return
  echo "no scene to learn from: $(tail -n 1 "$OUT/render.log")"
  exit 1
}

weights() { if [ -f "$OUT/$1/model.safetensors" ]; then echo "$OUT/$1"; else echo "${START:+$START/$1}"; fi; }

stage() { # NAME GPUS SECONDS ARGUMENTS...
  local name=$1 gpus=$2 end=$((SECONDS + $3)) start=(python3) left code
  shift 3
  [ "$end" -gt "$SECONDS" ] && [ ! -f "$STATE/$name.done" ] || return 0
  ((end < BUDGET)) || end=$BUDGET
  case $gpus in *,*) start=(python3 -m torch.distributed.run --standalone --nproc-per-node 2) ;; esac
  for _ in first again; do
    left=$((end - SECONDS))
    ((left > RESERVE + 10)) || break
    echo "$(date -u +%T) $name: $left s on $gpus"
    CUDA_VISIBLE_DEVICES=$gpus timeout -k 10 $((left + 20)) "${start[@]}" "runs/train_$name.py" --out "$OUT/$name" \
      --state "$STATE/$name" --seconds "$left" --reserve "$RESERVE" "$@" >>"$OUT/$name.log" 2>&1 &
    # `timeout` leads a group of its own, subshells lose the traps below, and bash heeds a signal only while it waits.
    trap "kill $! 2>/dev/null; exit 143" TERM INT
    wait $!
    code=$?
    trap 'exit 143' TERM INT
    if [ "$code" -eq 0 ]; then
      touch "$STATE/$name.done"
      echo "$(date -u +%T) $name: done"
      return 0
    fi
    echo "$(date -u +%T) $name: stopped early, see $OUT/$name.log"
  done
  return 0
}

data=(--worlds "$WORLDS" --worlds-val "$HELD_OUT")
photos=(${PHOTOS:+--photos "$PHOTOS"})
train_codec() {
  stage codec $one "$CODEC" "${data[@]}" "${photos[@]}" --lpips "$LPIPS" \
    ${START:+--init "$START/codec" --decoder-only --rate 6e-4} ${CODEC_ARGS:-}
}
train_depth() {
  stage depth $one "$DEPTH" "${data[@]}" "${photos[@]}" ${START:+--init "$START/depth"} \
    ${BACKBONE:+--backbone "$BACKBONE"} ${DEPTH_ARGS:-}
}
train_denoiser() { # GPUS CODEC
  [ -n "$2" ] || { echo "no codec: the denoiser is left out"; return 0; }
  stage denoiser "$1" "$DENOISER" "${data[@]}" "${photos[@]}" --codec "$2" --lpips "$LPIPS" \
    ${START:+--init "$START/denoiser"} ${DENOISER_ARGS:-}
}
train_student() {
  local denoiser depth
  denoiser=$(weights denoiser) depth=$(weights depth)
  [ -n "$(weights codec)" ] || { echo "no codec: the student is left out"; return 0; }
  stage student $all "$STUDENT" "${data[@]}" ${depth:+"${photos[@]}" --depth "$depth"} --codec "$(weights codec)" \
    ${denoiser:+--denoiser "$denoiser"} --lpips "$LPIPS" --guide \
    ${START:+--init "$START/decoder" --preset mini-on} ${STUDENT_ARGS:-}
}

set -m # background jobs lead process groups of their own, which can be ended as a whole
film >"$OUT/render.log" 2>&1 &
filming=$!
trap 'for job in $(jobs -p); do kill -- "-$job" 2>/dev/null; done' EXIT
trap 'exit 143' TERM INT
scenes "${FIRST:-40}" $((BUDGET / 4))
if [ "$lines" -eq 2 ] && [ -n "$START" ]; then # the encoder stays: latents of the shipped codec are those of the new one
  (train_depth; train_codec) &
  first_line=$!
  train_denoiser $other "$START/codec" &
  wait $first_line $!
elif [ "$lines" -eq 2 ]; then
  (one=$other train_depth) &
  first_line=$!
  train_codec &
  wait $first_line $!
  train_denoiser $all "$(weights codec)"
else
  train_codec
  train_depth
  train_denoiser $all "$(weights codec)"
fi
train_student
ls -l "$OUT"/*/model.safetensors
