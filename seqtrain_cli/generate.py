"""seqtrain-generate: writes outputs of a trained model, a line each. Settings are key=value.

  seqtrain-generate checkpoint=RUN split=test generation.beam=5 output=FILE.jsonl
  echo "some text" | seqtrain-generate checkpoint=RUN input=-
  echo '{"values": [[0.1, 0.2], [0.3, 0.1]]}' | seqtrain-generate checkpoint=RUN input=-

  checkpoint                   run folder (its best checkpoint), or one checkpoint; several as
                               checkpoint=[A,B] are an ensemble: the mean of their probabilities
  split                        split of the data (test)
  data                         folder of the data, if not the one of training
  input                        lines to read instead, text or JSON: a file, or - for standard input
  output                       file to write; standard output if not given
  format                       jsonl, text (an output a line and nothing else), or fairseq for its
                               lines S- T- H- D- P- A- (scores to base 2)
  shard=2/4                    only part 2 of 4 of the split, in a job of its own
  score_reference=true         score the references of the split instead of searching
  generation.beam, nbest, lenpen, max_len_a, max_len_b     options of search; else as in training
  generation.sampling=true, diverse_beam_groups, contrastive_alpha, mbr_samples    other searches
  generation.constraints=ordered (or unordered), forced_prefix=true     a line of input= tells what
                               its output contains and begins with: "input TAB phrase TAB phrase",
                               "input TAB beginning", "input TAB beginning TAB phrase"
  generation.print_alignment=hard (or soft)     also tell which source symbols outputs come from
  language_model               run of a language model of the same symbols, whose log probabilities
                               count with generation.lm_weight=0.2
  distributed.num_processes    processes on this machine that share the work: the same output
  max_tokens, batch_size       size of a batch
  device                       auto, cpu or cuda
  plugins=[module,./file.py]   code that registers the model's components
  debug=true                   show the traceback of an error

Each line is {"id": 0, "source": ..., "reference": ..., "hypotheses": [{"text", "score",
"token_scores"}, ...]}, best first; "reference" only of a split, "references" too where several are
right. A score is the sum of log probabilities / length ** lenpen. A line of input= that cannot be
used has "error" instead (an empty line with format=text), and is told on stderr; it harms no other
line. With format=text and nbest, the outputs of an input follow one another.
A task that predicts instead (classes, labels, forecasts) reads JSON lines and writes
{"id": 0, ...} with its prediction: {"id": 0, "label": ..., "probability": ...}.
Options: -h, --help, --version, --cfg job (print the composed configuration)
"""

import sys
from typing import Any

from seqtrain_cli.command import Command
from seqtrain_cli.entry import run_command


def run(container: dict[str, Any]) -> None:
    """Generates for a split or for lines of text, in this process or in several."""
    from seqtrain.training.pass_progress import PassProgress
    from seqtrain_cli.inference import line_writer, open_model, read_settings
    from seqtrain_cli.output_rows import output_lines
    from seqtrain_cli.schemas import GenerateConfig
    from seqtrain_cli.shared_work import working_processes

    settings = read_settings(GenerateConfig, container)
    num_processes = settings.distributed.num_processes
    with working_processes("seqtrain_cli.generate", num_processes, settings.device) as collectives:
        # Lines that run over a terminal show by themselves how far it is.
        is_shown = collectives.is_first and bool(settings.output or not sys.stdout.isatty())
        pipeline = open_model(settings, PassProgress(is_shown, collectives.world_size))
        # The other ranks write nothing.
        output = settings.output if collectives.is_first else ""
        with line_writer(output) as write:
            for line in output_lines(settings, pipeline, collectives):
                write(line)


COMMAND = Command("generate", __doc__, run)


def main() -> int:
    """Runs the command line of this process and returns the exit code."""
    return run_command(COMMAND)


if __name__ == "__main__":
    sys.exit(main())
