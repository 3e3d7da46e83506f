#!/usr/bin/env bash
# Multi30k English to German: prepare, train, translate the test set. Usage: multi30k.sh TEXT_FOLDER
# The folder holds train, val and test_2016_flickr as .en and .de. Further arguments go to
# seqtrain-train: optimization.max_update=20
set -euo pipefail
text=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/../.."

run=runs/multi30k_en_de
for word in "$@"; do
  case $word in run_dir=*) run=${word#run_dir=} ;; esac
done
if [ ! -e data/multi30k_en_de/card.json ]; then
  seqtrain-preprocess task=translation task.source=en task.target=de \
    task.train="$text/train" task.valid="$text/val" task.test="$text/test_2016_flickr" \
    task.tokenizer=sentencepiece task.vocab_size=8000 task.joined=true out=data/multi30k_en_de
fi
seqtrain-train experiment=multi30k_en_de "$@"
seqtrain-evaluate checkpoint=$run split=test
