"""seqtrain-average: averages the weights of checkpoints into a new one. Settings are key=value.

  seqtrain-average inputs=RUN last=5 output=RUN/average
  seqtrain-average inputs=RUN best=5 output=RUN/average
  seqtrain-average inputs=RUN from_update=20000 to_update=30000 output=RUN/average
  seqtrain-average inputs=[A/checkpoints/step-0000000100,B] output=AB

  inputs                       one run folder, or several runs (their best) and checkpoints
  last, best                   of one run: the newest, or the best so many checkpoints
  from_update, to_update       of one run: only checkpoints after so many updates
  output                       folder to write into; give it to evaluate, generate or init_from
  debug=true                   show the traceback of an error

Weights are those that evaluation uses: with a section `ema`, its average. The new checkpoint holds
no optimizer state: seqtrain-evaluate and -generate read it, checkpoint.init_from begins with it.
Options: -h, --help, --version, --cfg job (print the composed configuration)
"""

import sys
from pathlib import Path
from typing import Any

from seqtrain_cli.command import Command
from seqtrain_cli.entry import run_command


def run(container: dict[str, Any]) -> None:
    """Chooses the checkpoints, averages them, and says where the result is."""
    from seqtrain.checkpoint.average import Selection, average_checkpoints, select
    from seqtrain.checkpoint.load import resolve
    from seqtrain.config_schema import parse_section
    from seqtrain.errors import ConfigError
    from seqtrain_cli.schemas import AverageConfig

    config = parse_section(AverageConfig(), container, "")
    for key in ("inputs", "output"):
        if not getattr(config, key):
            raise ConfigError(f"{key} is not set. See seqtrain-average --help.")
    wishes = (config.last, config.best, config.from_update, config.to_update)
    if len(config.inputs) > 1:
        if any(wishes):
            raise ConfigError(
                "last, best, from_update and to_update choose among the checkpoints of one run; "
                f"inputs names {len(config.inputs)}."
            )
        paths = [resolve(Path(name)) for name in config.inputs]
    else:
        # The folder of checkpoints, from whatever a path means: a run, that folder, or one of them.
        folder = resolve(Path(config.inputs[0])).parent
        last, best, from_update, to_update = wishes
        selection = Selection(last=last, best=best, from_update=from_update, to_update=to_update)
        paths = select(folder, selection)
    for path in paths:
        print(f"averaging {path}")
    print(f"written to {average_checkpoints(paths, Path(config.output))}")


COMMAND = Command("average", __doc__, run)


def main() -> int:
    """Runs the command line of this process and returns the exit code."""
    return run_command(COMMAND)


if __name__ == "__main__":
    sys.exit(main())
