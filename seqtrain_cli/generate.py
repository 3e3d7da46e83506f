"""seqtrain-generate: writes outputs of a trained model as JSON lines. Settings are key=value.

  seqtrain-generate checkpoint=RUN split=test generation.beam=5 output=FILE.jsonl
  echo "some text" | seqtrain-generate checkpoint=RUN input=-

  checkpoint                   run folder (its best checkpoint), or one checkpoint
  split                        split of the data (test)
  data                         folder of the data, if not the one of training
  input                        text to read instead: a file, or - for standard input
  output                       file to write; standard output if not given
  generation.beam, nbest, lenpen, max_len_a, max_len_b     options of search; else as in training
  max_tokens, batch_size       size of a batch
  device                       auto, cpu or cuda
  plugins=[module,./file.py]   code that registers the model's components
  debug=true                   show the traceback of an error

Each line is {"id": 0, "source": ..., "hypotheses": [{"text", "score", "token_scores"}, ...]}, best
first; "source" only with input=. A score is the sum of log probabilities / length ** lenpen.
Options: -h, --help, --version, --cfg job (print the composed configuration)
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from seqtrain_cli.command import Command
from seqtrain_cli.entry import run_command

if TYPE_CHECKING:
    from seqtrain.pipeline import Pipeline
    from seqtrain_cli.schemas import GenerateConfig


def run(container: dict[str, Any]) -> None:
    """Generates for a split or for lines of text."""
    from seqtrain_cli.inference import line_writer, open_model
    from seqtrain_cli.schemas import GenerateConfig

    settings, pipeline = open_model(GenerateConfig, container)
    with line_writer(settings.output) as write:
        for row in _rows(settings, pipeline):
            write(json.dumps(row, ensure_ascii=False))


def _rows(settings: "GenerateConfig", pipeline: "Pipeline") -> Iterator[dict[str, Any]]:
    from seqtrain_cli.inference import read_lines

    generation = pipeline.config.generation
    if not settings.input:
        for index, nbest in pipeline.generate_split(settings.split, generation):
            yield {"id": index, "hypotheses": [asdict(text) for text in nbest]}
        return
    read: list[str] = []  # lines that the pipeline took and has not answered yet

    def remembered() -> Iterator[str]:
        for line in read_lines(settings.input):
            read.append(line)
            yield line

    for index, nbest in enumerate(pipeline.generate_lines(remembered(), generation)):
        hypotheses = [asdict(text) for text in nbest]
        yield {"id": index, "source": read.pop(0), "hypotheses": hypotheses}


COMMAND = Command("generate", __doc__, run)


def main() -> int:
    """Runs the command line of this process and returns the exit code."""
    return run_command(COMMAND)


if __name__ == "__main__":
    sys.exit(main())
