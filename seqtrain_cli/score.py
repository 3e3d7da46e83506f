"""seqtrain-score: scores a file of texts against references, as JSON. Settings are key=value.

  seqtrain-score hypotheses=out.txt references=test.de
  seqtrain-score hypotheses=a.txt other=b.txt references=test.de scorers=[bleu,chrf]

  hypotheses                   file with a text a line, or JSON lines of seqtrain-generate
  references                   file with a line for each; several: references=[a.de,b.de]
  scorers                      registered scorers; all of them if not given
  other                        a second system's texts: paired bootstrap of the two
  resamples=1000, seed=1       draws of the bootstrap, and where they come from
  output                       file to write besides printing
  plugins=[module,./file.py]   code that registers scorers
  debug=true                   show the traceback of an error

With other=, "difference" is other minus hypotheses, "low" and "high" hold 95 % of the draws, and
"p_value" is the share of draws that differ from the mean draw by as much (Koehn 2004; Riezler and
Maxwell 2005).
Options: -h, --help, --version, --cfg job (print the composed configuration)
"""

import json
import sys
from typing import Any

from seqtrain_cli.command import Command
from seqtrain_cli.entry import run_command


def run(container: dict[str, Any]) -> None:
    """Scores, prints, and writes a file if one is named."""
    from seqtrain.config_schema import parse_section
    from seqtrain_cli.inference import line_writer
    from seqtrain_cli.schemas import ScoreConfig
    from seqtrain_cli.score_report import score_report

    settings = parse_section(ScoreConfig(), container, "")
    text = json.dumps(score_report(settings), indent=2)
    print(text, flush=True)
    if settings.output:
        with line_writer(settings.output) as write:
            write(text)


COMMAND = Command("score", __doc__, run)


def main() -> int:
    """Runs the command line of this process and returns the exit code."""
    return run_command(COMMAND)


if __name__ == "__main__":
    sys.exit(main())
