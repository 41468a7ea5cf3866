#!/usr/bin/env bash
# Everything that is promised of one CUDA GPU, measured in one call of BUDGET seconds (480): kernels against their torch
# forms, gsplat against the float64 reference, warp, the main job and a video with networks in memory, six mini
# trajectories, the published sizes with random weights, and last, with the time that is left, per-scene optimisation beside the student.
#   LPIPS=... bash runs/measure_gpu.sh OUT [PART ...]
# Each part has its own time limit and log (OUT/PART.log), and one that fails does not stop the others. OUT/parts.jsonl
# tells how each ended (exit 124: it ran into its limit; 1 of a benchmark: a demand is missed, or it failed, see the log).
# Results are appended to benchmarks/results/*.jsonl and copied to OUT. TINY=1 is the dry run on any machine: small
# sizes, Triton's interpreter, nothing recorded.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT="${1:?output folder}" BUDGET="${BUDGET:-480}" TINY="${TINY:-}"
LPIPS="${LPIPS:-cache/lpips/lpips_alex.safetensors}" SCRATCH="${SCRATCH:-$(mktemp -d)}" PYTHON="${PYTHON:-python3}"
shift
PARTS=("$@")
[ "$#" -gt 0 ] || PARTS=(machine kernels warp generate video decoder step gen3c student)
export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}." PYTHONUNBUFFERED=1 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
mkdir -p "$OUT"
SMALL=() RECORD=(--record)
if [ -n "$TINY" ]; then export TRITON_INTERPRET=1; SMALL=(--tiny) RECORD=(); fi

part() { # NAME LIMIT COMMAND...
  local name=$1 limit=$2 began=$SECONDS left=$((BUDGET - SECONDS)) code
  shift 2
  case " ${PARTS[*]} " in *" $name "*) ;; *) return 0 ;; esac
  [ -z "$TINY" ] || limit=$BUDGET # whatever machine this is
  [ "$limit" -lt "$left" ] || limit=$left
  if [ "$limit" -lt 5 ]; then code=-1; else
    timeout -k 5 "$limit" "$@" >"$OUT/$name.log" 2>&1
    code=$?
  fi
  echo "{\"part\": \"$name\", \"exit\": $code, \"seconds\": $((SECONDS - began)), \"limit\": $limit}" | tee -a "$OUT/parts.jsonl"
}

machine() {
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm --format=csv 2>&1
  "$PYTHON" - <<'PY'
import platform
from importlib.metadata import PackageNotFoundError, version

from benchmarks.record import commit, machine

print("machine:", machine())
print("commit:", commit(), "python:", platform.python_version())
for name in ("torch", "triton", "gsplat", "diffusers", "numpy", "numba", "pytest", "beartype", "hypothesis"):
    try:
        print(f"{name}: {version(name)}")
    except PackageNotFoundError:
        print(f"{name}: missing")
PY
}

kernels() { # the files by name: others import what a GPU machine may lack
  local files
  mapfile -t files < <(grep -rl "mark\.gpu" tests --include="test_*.py")
  "$PYTHON" -m pytest -m gpu -p no:cacheprovider -v "${files[@]}"
}

student() { # ARGUMENTS...: latents stay in SCRATCH, as they are large
  "$PYTHON" runs/evaluate_student.py --lpips "$LPIPS" --latents "$SCRATCH/latents" --out "$SCRATCH/student" "$@"
  local code=$? file
  for file in metrics.json table.md sheet.png; do cp "$SCRATCH/student/$file" "$OUT/student_$file"; done
  return $code
}

export -f machine kernels student
export OUT LPIPS SCRATCH PYTHON
part machine 60 bash -c machine
part kernels 150 bash -c kernels
part warp 60 "$PYTHON" -m benchmarks.warp "${RECORD[@]}" "${SMALL[@]}"
part generate 90 "$PYTHON" -m benchmarks.generate --loaded "${RECORD[@]}" ${TINY:+--size 96 64}
part video 90 "$PYTHON" -m benchmarks.video --loaded "${RECORD[@]}" ${TINY:+--quality draft}
part decoder 90 "$PYTHON" -m benchmarks.full_scale maps decoder "${RECORD[@]}" "${SMALL[@]}"
part step 120 "$PYTHON" -m benchmarks.full_scale step "${RECORD[@]}" "${SMALL[@]}"
part gen3c 80 "$PYTHON" -m benchmarks.full_scale gen3c "${RECORD[@]}" "${SMALL[@]}"
part student "$BUDGET" bash -c 'student "$@"' student ${TINY:+--scenes 1 --optimise-steps 3}
for name in warp generate video full_scale; do
  [ ! -f "benchmarks/results/$name.jsonl" ] || cp "benchmarks/results/$name.jsonl" "$OUT/"
done
grep -h -E "^missed|^failed|passed|Error" "$OUT"/*.log
exit 0
