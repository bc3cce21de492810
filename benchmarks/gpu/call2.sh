#!/usr/bin/env bash
# Call 2 of PLAN.md: bash benchmarks/gpu/call2.sh [FOLDER for the results; default benchmarks/out]
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH=".:kernels:demo_app:${PYTHONPATH:-}" OMP_WAIT_POLICY=PASSIVE PYTHONUNBUFFERED=1
python3 -m benchmarks.gpu.run_all --out "${1:-benchmarks/out}" --only few_rows long_user scan_padding sanitizer training
