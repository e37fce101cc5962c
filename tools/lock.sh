#!/usr/bin/env bash
# usage: tools/lock.sh UV          (make lock calls it)
# Writes requirements.lock (to train) and requirements-dev.lock (to test and lint), exact versions for
# Python 3.11 and newer on every platform. torch's own CUDA packages are left out: each build of torch
# pins the exact ones that it needs, and a CPU build needs none.
set -euo pipefail
uv=$1
cuda=(cuda-bindings cuda-pathfinder cuda-toolkit triton)
for name in cublas cuda-cupti cuda-nvrtc cuda-runtime cudnn-cu13 cufft cufile curand cusolver cusparse \
            cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx; do
  cuda+=("nvidia-$name")
done
flags=(--universal --python-version 3.11 --upgrade --quiet --no-annotate --no-header)
for name in "${cuda[@]}"; do flags+=(--no-emit-package "$name"); done

compile() { # OUTPUT ARGS...
  local out=$1 body
  shift
  body=$("$uv" pip compile "${flags[@]}" "$@" pyproject.toml)
  printf '# Exact versions for Python 3.11 and newer. Written by `make lock`, not by hand.\n%s\n' "$body" >"$out"
}

echo 'torch==2.13.0' >.torch.pin
trap 'rm -f .torch.pin' EXIT
compile requirements.lock -c .torch.pin
compile requirements-dev.lock -c requirements.lock --group dev --all-extras
wc -l requirements.lock requirements-dev.lock
