#!/usr/bin/env bash
# The main job from beginning to end: prepare, train, evaluate, look. `make demo` calls it.
# Further arguments go to seqtrain-train: optimization.max_update=20
set -euo pipefail
cd "$(dirname "$0")/../.."

text=data/g2p_cmudict_text
run=runs/g2p_cmudict
for word in "$@"; do
  case $word in run_dir=*) run=${word#run_dir=} ;; esac
done
if [ ! -e data/g2p_cmudict/card.json ]; then
  python examples/g2p_cmudict/prepare.py "$text"
  seqtrain-preprocess task=translation task.source=word task.target=phonemes \
    task.train=$text/train task.valid=$text/valid task.test=$text/test \
    task.tokenizer=char task.target_tokenizer=word task.reference_separator=/ \
    out=data/g2p_cmudict
fi

seqtrain-train experiment=g2p_cmudict "$@"

echo
echo "ten words and their predicted pronunciations:"
printf '%s\n' hello sequence phoneme thought through knight psychology ratatouille pytorch seqtrain |
  seqtrain-generate checkpoint=$run input=- | python examples/g2p_cmudict/show.py

echo
python - <<P
import json

values = json.load(open("$run/test_metrics.json"))
print(f"held-out words: word error rate {values['test_wer']:.2f} %, "
      f"phoneme error rate {values['test_per']:.2f} %")
P
cat <<T
go on with:
  echo sequence | seqtrain-generate checkpoint=$run input=- generation.nbest=3
  seqtrain-evaluate checkpoint=$run split=test
  seqtrain-train experiment=g2p_cmudict run_dir=$run optimization.max_update=12000   # train on
  seqtrain-info checkpoint=$run
T
