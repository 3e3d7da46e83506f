#!/usr/bin/env bash
# A sweep of two runs, each a Slurm job of 2 x 8 processes, submitted from the login machine.
# Needs: pip install 'seqtrain[slurm]'. hydra/launcher=submitit_local tries it without Slurm.
set -euo pipefail

seqtrain-train --multirun hydra/launcher=submitit_slurm \
  hydra.launcher.nodes=2 hydra.launcher.tasks_per_node=8 hydra.launcher.gpus_per_node=8 \
  hydra.launcher.cpus_per_task=8 hydra.launcher.timeout_min=1440 \
  hydra.launcher.submitit_folder=/shared/runs/sweep/submitit \
  experiment=multi30k_en_de task.data=/shared/data run_dir=/shared/runs/sweep \
  optimizer.lr=0.001,0.002 checkpoint.save_interval_updates=200
