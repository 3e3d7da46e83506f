"""seqtrain-import: turns what fairseq made into what seqtrain reads. Settings are key=value.

  seqtrain-import checkpoint=checkpoint_best.pt data=DATA_BIN trust=true out=RUN
  seqtrain-import config=fairseq.yaml out=experiment.yaml

  checkpoint                   a Transformer or LSTM for translation; it becomes a run folder, for
                               seqtrain-generate, -evaluate and checkpoint.init_from
  data                         folder of fairseq-preprocess that it was trained on
  trust=true                   you know where the checkpoint is from: it is a pickle. A confined
                               process reads it, and calls nothing that it names
  sentencepiece                model file that cuts raw lines; else input is cut into pieces already
  config                       a YAML file of fairseq-hydra-train; names every key that it drops
  out                          run folder to make; for config= a file (standard output if not given)
  debug=true                   show the traceback of an error

The run folder holds no optimizer state: training goes on with checkpoint.init_from=RUN.
Options: -h, --help, --version, --cfg job (print the composed configuration)
"""

import sys
from pathlib import Path
from typing import Any

from seqtrain_cli.command import Command
from seqtrain_cli.entry import run_command


def run(container: dict[str, Any]) -> None:
    """Imports, and says where the result is."""
    from seqtrain.config_schema import parse_section
    from seqtrain.errors import ConfigError
    from seqtrain.interop.import_run import ImportRequest, import_fairseq
    from seqtrain_cli.schemas import ImportConfig

    settings = parse_section(ImportConfig(), container, "")
    if settings.config:
        _translate(settings.config, settings.out)
        return
    for key in ("checkpoint", "data", "out"):
        if not getattr(settings, key):
            raise ConfigError(f"{key} is not set. See seqtrain-import --help.")
    request = ImportRequest(
        checkpoint=Path(settings.checkpoint),
        data=Path(settings.data),
        out=Path(settings.out),
        is_trusted=settings.trust,
        sentencepiece=settings.sentencepiece,
    )
    print(f"written to {import_fairseq(request)}")


def _translate(config: str, out: str) -> None:
    from seqtrain.interop.fairseq_config import read_fairseq_yaml
    from seqtrain_cli.inference import line_writer

    made = read_fairseq_yaml(Path(config))
    with line_writer(out) as write:
        write(made.to_yaml(config).rstrip())
    for key, reason in made.dropped.items():
        print(f"dropped {key}: {reason}", file=sys.stderr)


COMMAND = Command("import", __doc__, run)


def main() -> int:
    """Runs the command line of this process and returns the exit code."""
    return run_command(COMMAND)


if __name__ == "__main__":
    sys.exit(main())
