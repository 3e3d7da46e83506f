#!/usr/bin/env bash
# On every machine: torchrun.sh INDEX FIRST_HOST, INDEX from 0. The run goes on when a process or a
# machine is lost: torchrun starts all processes again, from the newest checkpoint.
set -euo pipefail
index=$1 first_host=$2

# With a shared store, an agent that is started again on its machine would not find the others.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1

exec torchrun --nnodes=2 --nproc-per-node=8 --max-restarts=100 \
  --rdzv-backend=c10d --rdzv-id=seqtrain --rdzv-endpoint="$first_host:29400" \
  --rdzv-conf=is_host=$((index == 0)) \
  -m seqtrain_cli.train \
  experiment=multi30k_en_de task.data=/shared/data run_dir=/shared/runs/multi30k \
  optimization.micro_batches_per_update=16 checkpoint.save_interval_updates=200
