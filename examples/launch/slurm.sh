#!/usr/bin/env bash
#SBATCH --job-name=seqtrain
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append

# sbatch slurm.sh: each task of srun is one process of the run; nothing else need be set.
srun --kill-on-bad-exit=1 \
  seqtrain-train \
  experiment=multi30k_en_de task.data=/shared/data run_dir=/shared/runs/multi30k \
  optimization.micro_batches_per_update=16 checkpoint.save_interval_updates=200
status=$?

# Three minutes before the end of its time the run saves, and ends with 128 + SIGUSR1.
if [ "$status" -eq 138 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
