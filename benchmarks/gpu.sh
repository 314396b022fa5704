#!/usr/bin/env bash
# What this package does on a GPU, in five minutes at most, the most wanted first.
#
#     benchmarks/gpu.sh                                        on the machine with the GPU
#     TINY=1 JAX_PLATFORMS=cpu LONGER=4 benchmarks/gpu.sh      a rehearsal, anywhere
#
# Each part is a program below benchmarks/gpu/ with a time limit, and has a file of its own in OUT,
# PART.json, which is rewritten with every figure: a part that fails or is cut off keeps what it has,
# and the next one begins. At the end a table of all. OUT/log.txt has what the programs said.
#
# Parts, with what they measure:
#   environment  device, driver, versions
#   step         ms an update: batches, updates in a call, runs in one program; PyTorch with cuDNN
#   lstm         the two LSTM layers: the scan and its variants, cuDNN in jax, torch.nn.LSTM
#   run          one run of the base recipe by run.py, with and without a compilation cache
#   together     ten folds of two seeds in one program: steps, evaluation, checkpoints
#   generator    generated pictures a second
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
# Other processes need room too, PyTorch's among them.
export XLA_PYTHON_CLIENT_PREALLOCATE=${XLA_PYTHON_CLIENT_PREALLOCATE:-false}
# Each part says what it compiles; `run` has a cache of its own.
unset JAX_COMPILATION_CACHE_DIR
: >"$OUT/log.txt"
SECONDS=0

# program PART NAME LIMIT PYTHON: one program of a part.
program() {
    local part=$1 name=$2 limit=$(($3 * LONGER)) python=$4 left=$((TOTAL - SECONDS))
    local begun status=-1 seconds=0
    ((limit > left)) && limit=$left
    if ((limit >= 5)); then
        echo "== $part ($name), $limit s at most" >>"$OUT/log.txt"
        begun=$(date +%s.%N)
        SECONDS_LEFT=$limit timeout -k 3 "$limit" "$python" "benchmarks/gpu/$name.py" \
            >"$SCRATCH/said" 2>&1 </dev/null
        status=$?
        seconds=$(echo "$begun $(date +%s.%N)" | awk '{print $2 - $1}')
        cat "$SCRATCH/said" >>"$OUT/log.txt"
    fi
    "$PYTHON" benchmarks/gpu/summary.py mark "$part" "$name" "$status" "$seconds" "$SCRATCH/said"
}

part() {
    case $1 in
        environment) program "$1" machine 20 "$PYTHON" ;;
        step)
            program "$1" steps 100 "$PYTHON"
            program "$1" torch_steps 45 "$PYTHON_TORCH"
            ;;
        lstm)
            program "$1" layers 40 "$PYTHON"
            program "$1" torch_layers 15 "$PYTHON_TORCH"
            ;;
        run) program "$1" one_run 60 "$PYTHON" ;;
        together) program "$1" many_runs 60 "$PYTHON" ;;
        generator) program "$1" generator 20 "$PYTHON" ;;
        tests) program "$1" suite 60 "$PYTHON" ;;
        *) echo "there is no part $1" ;;
    esac
}

for name in $PARTS; do
    rm -f "$OUT/$name.json"
done
for name in $PARTS; do
    part "$name"
done
# shellcheck disable=SC2086
"$PYTHON" benchmarks/gpu/summary.py table $PARTS
echo "$SECONDS s in all; records in $OUT"
