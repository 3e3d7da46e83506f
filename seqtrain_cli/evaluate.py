"""seqtrain-evaluate: loss and scores of a trained model on a split, as JSON. Settings: key=value.

  seqtrain-evaluate checkpoint=RUN split=test

  checkpoint                   run folder (its best checkpoint), or one checkpoint
  split                        split of the data (test)
  data                         folder of the data, if not the one of training
  generate=false               loss only, no search
  generation.beam, nbest, lenpen, max_len_a, max_len_b     options of search; else as in training
  output                       file to write besides printing
  max_tokens, batch_size       size of a batch
  device                       auto, cpu or cuda
  plugins=[module,./file.py]   code that registers the model's components
  debug=true                   show the traceback of an error

Rates, accuracies and scores are in percent, losses in nats per target; "tables" holds what is no
single number, as a confusion matrix.
Options: -h, --help, --version, --cfg job (print the composed configuration)
"""

import sys
from typing import Any

from seqtrain_cli.command import Command
from seqtrain_cli.entry import run_command


def run(container: dict[str, Any]) -> None:
    """Evaluates, prints, and writes a file if one is named."""
    from seqtrain.finite_json import finite_json
    from seqtrain_cli.inference import line_writer, open_model
    from seqtrain_cli.schemas import EvaluateConfig

    settings, pipeline = open_model(EvaluateConfig, container)
    found = pipeline.evaluate(settings.split, pipeline.config.generation, settings.generate)
    named = {f"{settings.split}_{name}": value for name, value in found.values.items()}
    report: dict[str, Any] = {"checkpoint": str(pipeline.path), "split": settings.split, **named}
    if found.signatures:
        report["signatures"] = found.signatures
    text = finite_json(report, indent=2)
    if found.tables:  # on one line, however large
        text = f'{text[:-2]},\n  "tables": {finite_json(found.tables)}\n}}'
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
