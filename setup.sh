#!/usr/bin/env bash
# Set-up, demo and tests of TRELLIS.2. `./setup.sh demo` and `./setup.sh test` need only Python >= 3.10 and a C++
# compiler. Idempotent: what is already installed is left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
    cat <<'TEXT'
Usage: ./setup.sh COMMAND [ARGS] | FLAGS

Commands
  demo [ARGS]     set up, then turn the bundled picture into sample.glb and sample.mp4 (ARGS go to example.py)
  app [ARGS]      set up, then serve the web page on http://127.0.0.1:7860 (ARGS go to app.py)
  test [ARGS]     set up, then run the whole test suite (ARGS go to pytest)
  install         set up only

Flags of the published script (accepted together, e.g. `./setup.sh --basic --o-voxel`)
  --new-env       make .venv even if another environment is active
  --basic         dependencies and both packages (the same as `install`)
  --flash-attn    pip install flash-attn (optional; picked up when present)
  --nvdiffrast    nothing to do: the rasteriser is built in
  --nvdiffrec     nothing to do: split-sum lighting is built in
  --cumesh        nothing to do: mesh processing is built into o_voxel
  --o-voxel       build and install o_voxel (part of --basic)
  --flexgemm      nothing to do: sparse convolution is built in
  -h, --help      this text

Environment
  PYTHON          interpreter for a new .venv                        (default: python3)
  TORCH_SPEC      what to install when torch is missing              (default: torch==2.13.0)
  PIP_INDEX_URL   honoured by pip, e.g. an index that holds CPU-only builds of torch
TEXT
}

say() { printf '[setup] %s\n' "$*"; }

activate() {  # activate [force]: use the active environment, else ./.venv (made when missing)
    if [[ -z "${VIRTUAL_ENV:-}" || "${1:-}" == force ]]; then
        local python="${PYTHON:-python3}"
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
            || { echo "error: Python >= 3.10 is needed, $python is $("$python" -V 2>&1)" >&2; exit 1; }
        if [[ ! -x .venv/bin/python ]]; then
            say "making the environment .venv with $("$python" -V)"
            "$python" -m venv .venv
        fi
        # shellcheck disable=SC1091
        source .venv/bin/activate
    fi
    say "environment: $VIRTUAL_ENV"
}

fingerprint() {  # changes whenever something that is installed (not edited in place) changes
    local extras="$1"
    { echo "$extras"; cat setup.sh pyproject.toml
      find o-voxel/src o-voxel/o_voxel o-voxel/CMakeLists.txt o-voxel/pyproject.toml -type f \
          \( -name '*.py' -o -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' -o -name '*.txt' -o -name '*.toml' \) \
          -print0 | sort -z | xargs -0 cat; } | sha256sum | cut -d' ' -f1
}

install() {  # install EXTRAS
    local extras="$1" stamp want
    stamp="$VIRTUAL_ENV/.trellis2_installed"
    want="$(fingerprint "$extras")"
    # The [dev] extra holds everything the plain install does, so it serves `demo` too.
    if [[ -f "$stamp" ]] && grep -qxF -e "$want" -e "$(fingerprint "[dev]")" "$stamp"; then
        say "already installed"
        return
    fi
    rm -f "$stamp"
    local pip=(python -m pip --disable-pip-version-check)
    if ! python -c 'import torch' 2>/dev/null; then
        say "installing ${TORCH_SPEC:-torch==2.13.0}"
        "${pip[@]}" install -q "${TORCH_SPEC:-torch==2.13.0}"
    fi
    say "building o_voxel (C++ core, and CUDA where nvcc is found: one to two minutes)"
    if ! "${pip[@]}" install -q ./o-voxel; then
        command -v c++ >/dev/null || echo "error: no C++ compiler found (install g++ or clang++)" >&2
        exit 1
    fi
    say "installing trellis2$extras"
    "${pip[@]}" install -q -e ".$extras"
    echo "$want" > "$stamp"
}

run_tests() {
    if command -v npm >/dev/null && [[ ! tests/tools/node_modules/.package-lock.json -nt tests/tools/package.json ]]; then
        say "installing the Khronos glTF validator, axe-core and three.js (npm)"
        npm install --silent --no-fund --no-audit --prefix tests/tools || say "npm failed: tests that need these are skipped"
    fi
    # Two workers with one thread each beat one worker with two: most tests are many small operations.
    local workers
    workers="$(python -c 'import os; print(min(8, len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else os.cpu_count())')"
    OMP_NUM_THREADS=1 python -m pytest -n "$workers" --dist loadgroup "$@"
}

[[ $# -gt 0 ]] || { usage; exit 2; }
case "$1" in
    demo)    shift; activate; install ""; say "running example.py"; exec python example.py "$@" ;;
    app)     shift; activate; install "[app]"; exec python app.py "$@" ;;
    test)    shift; activate; install "[dev]"; run_tests "$@" ;;
    install) activate; install "" ;;
    -h|--help) usage ;;
    --*)
        force=""
        for flag in "$@"; do
            case "$flag" in
                --new-env) force=force ;;
                --basic|--o-voxel|--flash-attn|--nvdiffrast|--nvdiffrec|--cumesh|--flexgemm) ;;
                -h|--help) usage; exit 0 ;;
                *) echo "error: unknown flag $flag" >&2; usage >&2; exit 2 ;;
            esac
        done
        activate "$force"
        for flag in "$@"; do
            case "$flag" in
                --basic|--o-voxel) install "" ;;
                --flash-attn) say "installing flash-attn (optional)"; python -m pip install -q flash-attn --no-build-isolation ;;
                --nvdiffrast) say "--nvdiffrast: nothing to do, the rasteriser is built into o_voxel" ;;
                --nvdiffrec)  say "--nvdiffrec: nothing to do, split-sum lighting is built into trellis2" ;;
                --cumesh)     say "--cumesh: nothing to do, mesh processing is built into o_voxel" ;;
                --flexgemm)   say "--flexgemm: nothing to do, sparse convolution is built into trellis2" ;;
            esac
        done ;;
    *) echo "error: unknown command $1" >&2; usage >&2; exit 2 ;;
esac
