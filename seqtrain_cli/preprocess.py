r"""seqtrain-preprocess: turns raw data into a folder for task.data. Settings are key=value.

  seqtrain-preprocess task=translation task.source=en task.target=de \
    task.train=D/train task.valid=D/val task.test=D/test \
    task.tokenizer=sentencepiece task.vocab_size=8000 task.joined=true out=DATA

  task=NAME                    what the data is; seqtrain-info task=NAME explains its fields
  out                          folder to write
  num_workers                  processes that encode text
  overwrite=true               replace a folder that was prepared from other text or settings
  shard=2/4                    prepare part 2 of 4 (in OUT.parts), each in a job of its own;
  shard=join                   then put the parts together to the same files as at once
  plugins=[module,./file.py,./folder]   code of yours that registers components
  debug=true                   show the traceback of an error

A command that was interrupted goes on when it is run again.

Options: -h, --help, --version, --cfg job (print the composed configuration)
"""

import sys
from pathlib import Path
from typing import Any

from seqtrain_cli.command import Command
from seqtrain_cli.entry import run_command


def run(container: dict[str, Any]) -> None:
    """Prepares the data of a task."""
    from seqtrain.config_schema import parse_section
    from seqtrain.data.prepare_options import PrepareOptions
    from seqtrain.errors import ConfigError
    from seqtrain.tasks.base import TASKS
    from seqtrain_cli.schemas import PreprocessConfig

    task_config = TASKS.parse(container.pop("task", None) or {})
    config = parse_section(PreprocessConfig(), container, "")
    if not config.out:
        raise ConfigError("out is not set: name the folder to write, as out=data/my_corpus.")
    options = PrepareOptions(config.num_workers, config.overwrite, config.shard)
    task = TASKS.get(task_config.name).cls
    for line in task.prepare_with(task_config, Path(config.out), options):
        print(line)


COMMAND = Command("preprocess", __doc__, run)


def main() -> int:
    """Runs the command line of this process and returns the exit code."""
    return run_command(COMMAND)


if __name__ == "__main__":
    sys.exit(main())
