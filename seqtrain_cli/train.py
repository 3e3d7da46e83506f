"""seqtrain-train: trains a run. Settings are written as key=value.

  seqtrain-train task.data=DATA run_dir=RUN optimization.max_update=500
  seqtrain-train experiment=NAME            a whole run from config/experiment/NAME.yaml
  The same command again continues from the newest checkpoint of run_dir.

Choose components by name; seqtrain-info lists them and explains their fields:
  task=  model=  criterion=  optimizer=  lr_scheduler=  log_writer=[...]  callback=[...]

Settings that most runs need:
  task.data                           folder made by seqtrain-preprocess
  run_dir                             folder of the run
  optimization.max_update, max_epoch  how long to train
  optimization.update_freq            micro-batches for one update
  dataset.max_tokens, batch_size      size of a batch
  optimizer.lr                        peak learning rate
  checkpoint.save_interval_updates    how often to save
  validation.validate_interval_updates
  distributed.num_processes           processes on this machine
  precision.dtype                     fp32 or bf16
  plugins=[module,./file.py,./folder] code of yours that registers components
  dry_run=true                        build everything, run one batch, write nothing
  debug=true                          show the traceback of an error
  profile=true                        write where the time goes into run_dir/profile

Options:
  -h, --help      this text                  --cfg job   print the composed configuration
  --version       the version                -m          a sweep: key=a,b runs every combination
                                                         and names the best at the end
  --config-dir D  presets of yours           -sc install=bash   print shell completion to eval
"""

import sys
from pathlib import Path
from typing import Any

from seqtrain_cli.command import Command
from seqtrain_cli.entry import run_command


def run(container: dict[str, Any]) -> float | None:
    """Trains, in this process or in several."""
    from seqtrain.distributed.context import DistributedContext
    from seqtrain.distributed.launch import launch, must_launch
    from seqtrain.files import as_typed
    from seqtrain.pipeline import train
    from seqtrain.training.run_config import RunConfig

    config = RunConfig.parse(container)
    context = DistributedContext.from_environment()
    if must_launch(config.distributed, context):
        argv = ["seqtrain_cli.train", *sys.argv[1:]]
        sys.exit(launch(argv, config.distributed.num_processes))
    result = train(config)
    if context.is_first and not config.dry_run:
        print(f"configuration in {as_typed(Path(config.run_dir)) / 'config.json'}", flush=True)
    if result.signal:
        sys.exit(128 + result.signal)
    return result.best_metric


def check(container: dict[str, Any]) -> None:
    """Raises ConfigError for settings that cannot work, as far as they alone tell it."""
    from seqtrain.training.run_config import RunConfig

    RunConfig.parse(container)


COMMAND = Command("train", __doc__, run, check)


def main() -> int:
    """Runs the command line of this process and returns the exit code."""
    return run_command(COMMAND)


if __name__ == "__main__":
    sys.exit(main())
