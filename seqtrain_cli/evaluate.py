"""seqtrain-evaluate: loss and scores of a trained model on a split, as JSON. Settings: key=value.

  seqtrain-evaluate checkpoint=RUN split=test

  checkpoint                   run folder (its best checkpoint), or one checkpoint; several as
                               checkpoint=[A,B] are an ensemble: the mean of their probabilities
  split                        split of the data (test)
  data                         folder of the data, if not the one of training
  generate=false               loss only, no search
  scorers=[bleu,ter]           registered scorers, in the place of those of the run
  generation.beam, nbest, lenpen, max_len_a, max_len_b     options of search; else as in training
  language_model               run of a language model, for generation.lm_weight=0.2
  distributed.num_processes    processes on this machine that share the work
  output                       file to write besides printing
  max_tokens, batch_size       size of a batch
  device                       auto, cpu or cuda
  plugins=[module,./file.py]   code that registers the model's components
  debug=true                   show the traceback of an error

On a terminal a line on standard error shows how far it is; elsewhere there is one a minute.
Rates, accuracies and scores are in percent, losses in nats per target; "tables" holds what is no
single number, as a confusion matrix. scorers=[perplexity] adds perplexity and bits per byte of the
target text; where a task predicts labels, scorers of texts compare them as texts.
Options: -h, --help, --version, --cfg job (print the composed configuration)
"""

import sys
from typing import Any

from seqtrain_cli.command import Command
from seqtrain_cli.entry import run_command


def run(container: dict[str, Any]) -> None:
    """Evaluates, in this process or in several, prints, and writes a file if one is named."""
    from seqtrain.training.pass_progress import PassProgress
    from seqtrain_cli.evaluation_report import evaluation_report
    from seqtrain_cli.inference import line_writer, open_model, read_settings
    from seqtrain_cli.schemas import EvaluateConfig
    from seqtrain_cli.shared_work import working_processes

    settings = read_settings(EvaluateConfig, container)
    num_processes = settings.distributed.num_processes
    with working_processes("seqtrain_cli.evaluate", num_processes, settings.device) as collectives:
        progress = PassProgress(collectives.is_first, collectives.world_size)
        text = evaluation_report(settings, open_model(settings, progress), collectives)
    if not collectives.is_first:
        return
    print(text, flush=True)
    if settings.output:
        with line_writer(settings.output) as write:
            write(text)


COMMAND = Command("evaluate", __doc__, run)


def main() -> int:
    """Runs the command line of this process and returns the exit code."""
    return run_command(COMMAND)


if __name__ == "__main__":
    sys.exit(main())
