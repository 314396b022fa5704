#!/usr/bin/env bash
# Measures this package on a GPU, in five minutes at most, the most important parts first.
#
#     benchmarks/gpu.sh                                        on the machine with the GPU
#     TINY=1 JAX_PLATFORMS=cpu LONGER=4 benchmarks/gpu.sh      a rehearsal, anywhere
#
# Each part consists of programs in benchmarks/gpu/ with time limits, and writes OUT/PART.json. This
# file is rewritten with every figure, so a part that fails or is cut off keeps what it has, and the
# next part begins. Unused time is left to the next parts. At the end, a table of all figures is
# printed. OUT/log.txt has the output of the programs.
#
# Parts, with what they measure:
#   environment  device, driver, versions
#   step         ms an update: batches, updates in a call, runs in one program; PyTorch with cuDNN
#   lstm         the two LSTM layers: the scan and its variants, cuDNN in jax, torch.nn.LSTM
#   run          one run of the base recipe by run.py, with and without a compilation cache
#   together     ten folds of two seeds in one program: steps, evaluation, checkpoints
#   generator    generated images per second
#   tests        the fast tests of model and training
#
# Variables: PYTHON (python3); PYTHON_TORCH, if PyTorch is elsewhere (PYTHON); OUT, the folder of
# the results (runs/benchmarks/gpu); TOTAL, seconds for all parts (300); LONGER, a factor for that
# and for the limit of each (1); PARTS, some of the above; COMMIT, for a copy without git;
# JAX_PLATFORMS (cuda,cpu: without a GPU the parts fail at once).
set -u
cd "$(dirname "$0")/.." || exit 1
PYTHON=${PYTHON:-python3}
PYTHON_TORCH=${PYTHON_TORCH:-$PYTHON}
LONGER=${LONGER:-1}
TOTAL=$((${TOTAL:-300} * LONGER))
ALL="environment step lstm run together generator tests"
PARTS=${PARTS:-$ALL}
export OUT=${OUT:-$PWD/runs/benchmarks/gpu}
mkdir -p "$OUT" || exit 1
OUT=$(cd "$OUT" && pwd)
SCRATCH=$(mktemp -d) || exit 1
trap 'rm -rf "$SCRATCH"' EXIT
export SCRATCH
export PYTHONPATH="$PWD:$PWD/benchmarks:$PWD/benchmarks/contenders${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2}
export JAX_PLATFORMS=${JAX_PLATFORMS:-cuda,cpu}
# Leaves room for other processes, such as PyTorch.
export XLA_PYTHON_CLIENT_PREALLOCATE=${XLA_PYTHON_CLIENT_PREALLOCATE:-false}
# Each part reports its compile times; `run` has a cache of its own.
unset JAX_COMPILATION_CACHE_DIR
: >"$OUT/log.txt"
SECONDS=0

# For each program: its part, its name, the seconds reserved for it, its maximum seconds, and its
# Python.
PROGRAMS="
environment machine 10 20 $PYTHON
step steps 40 110 $PYTHON
step graphs 15 40 $PYTHON
step torch_steps 30 45 $PYTHON_TORCH
lstm layers 20 45 $PYTHON
lstm graphs 15 30 $PYTHON
lstm torch_layers 10 15 $PYTHON_TORCH
run one_run 40 60 $PYTHON
together many_runs 45 90 $PYTHON
generator generator 15 25 $PYTHON
tests suite 40 60 $PYTHON
"

# programs PART ...: prints the lines of these parts, in the order of the parts.
programs() {
    local part
    for part in "$@"; do
        grep "^$part " <<<"$PROGRAMS" || echo "unknown part $part" >&2
    done
}

# program PART NAME LIMIT PYTHON: runs one program of a part.
program() {
    local part=$1 name=$2 limit=$3 python=$4 begun status=-1 seconds=0
    if ((limit >= 5)); then
        echo "== $part ($name), $limit s at most" >>"$OUT/log.txt"
        begun=$(date +%s.%N)
        SECONDS_LEFT=$limit timeout -k 3 "$limit" "$python" "benchmarks/gpu/$name.py" "$part" \
            >"$SCRATCH/said" 2>&1 </dev/null
        status=$?
        seconds=$(echo "$begun $(date +%s.%N)" | awk '{print $2 - $1}')
        cat "$SCRATCH/said" >>"$OUT/log.txt"
    fi
    "$PYTHON" benchmarks/gpu/summary.py mark "$part" "$name" "$status" "$seconds" "$SCRATCH/said"
}

kept=0
for name in $PARTS; do
    rm -f "$OUT/$name.json"
done
# shellcheck disable=SC2086
CHOSEN=$(programs $PARTS)
while read -r _ _ least _; do
    kept=$((kept + least * LONGER))
done <<<"$CHOSEN"
while read -r part name least most python <&3; do
    kept=$((kept - least * LONGER))
    limit=$((TOTAL - SECONDS - kept))
    ((limit > most * LONGER)) && limit=$((most * LONGER))
    program "$part" "$name" "$limit" "$python"
done 3<<<"$CHOSEN"
# shellcheck disable=SC2086
"$PYTHON" benchmarks/gpu/summary.py table $PARTS
echo "$SECONDS s in total; records in $OUT"
