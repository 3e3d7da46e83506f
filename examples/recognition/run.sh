#!/bin/bash
# Prepares a set, prints the baselines, and trains: bash examples/recognition/run.sh NAME [settings]
# NAME is japanese_vowels, digits or mnist1d; settings are key=value, as seed=2.
set -e
name=$1
shift
here=$(dirname "$0")
if [ ! -f "data/$name/card.json" ]; then
  python "$here/prepare.py" "$name" "data/raw_$name"
  seqtrain-preprocess task=recognition task.train="data/raw_$name/train.npz" \
    task.valid="data/raw_$name/valid.npz" task.test="data/raw_$name/test.npz" out="data/$name"
fi
python "$here/baselines.py" "data/$name"
seqtrain-train experiment="recognition_$name" "$@"
