"""seqtrain-interactive: answers each line of standard input at once. Settings are key=value.

  seqtrain-interactive checkpoint=RUN
  cat lines.txt | seqtrain-interactive checkpoint=RUN format=jsonl

  checkpoint                   run folder (its best checkpoint), or one checkpoint; several as
                               checkpoint=[A,B] are an ensemble
  format                       text (the best output), jsonl, or fairseq (S- H- D- P-)
  generation.beam, nbest, lenpen, max_len_a, max_len_b     options of search; else as in training
  language_model               run of a language model, for generation.lm_weight=0.2
  device                       auto, cpu or cuda
  plugins=[module,./file.py]   code that registers the model's components
  debug=true                   show the traceback of an error

A line that cannot be used gets an empty line, and the reason on standard error; seqtrain-generate
with input=- answers many lines together, which is faster. End with Ctrl-D.
Options: -h, --help, --version, --cfg job (print the composed configuration)
"""

import sys
from typing import Any

from seqtrain_cli.command import Command
from seqtrain_cli.entry import run_command


def run(container: dict[str, Any]) -> None:
    """Answers lines until the input ends."""
    from seqtrain.errors import ConfigError
    from seqtrain_cli.inference import open_model, read_settings
    from seqtrain_cli.input_lines import answers, input_lines
    from seqtrain_cli.output_rows import fairseq_lines, fault, json_row, to_json
    from seqtrain_cli.schemas import InteractiveConfig
    from seqtrain_cli.text_lines import text_lines

    settings = read_settings(InteractiveConfig, container)
    pipeline = open_model(settings)
    if settings.format not in ("text", "jsonl", "fairseq"):
        raise ConfigError(f"format must be text, jsonl or fairseq, got {settings.format!r}.")
    if pipeline.task.predicts:
        raise ConfigError(
            f"task={pipeline.config.task.name} predicts and generates no text: use "
            "seqtrain-generate with input=-."
        )

    def prompt() -> None:
        if sys.stdin.isatty():
            print("> ", end="", file=sys.stderr, flush=True)

    prompt()
    for number, (line, answer) in enumerate(answers(input_lines("-"), pipeline, lines_at_once=1)):
        if answer.error:
            print(fault(number, answer.error), file=sys.stderr)
        if settings.format == "jsonl":
            print(to_json(json_row(number, line, answer, pipeline)), flush=True)
        elif settings.format == "fairseq":
            print(*fairseq_lines(number, line, answer, pipeline), sep="\n", flush=True)
        else:
            print(*text_lines(answer.hypotheses, pipeline), sep="\n", flush=True)
        prompt()


COMMAND = Command("interactive", __doc__, run)


def main() -> int:
    """Runs the command line of this process and returns the exit code."""
    return run_command(COMMAND)


if __name__ == "__main__":
    sys.exit(main())
