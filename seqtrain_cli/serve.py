"""seqtrain-serve: try a trained model in a browser, or ask it by JSON. Settings are key=value.

  seqtrain-serve checkpoint=RUN                      a page on this machine, until Ctrl-C
  curl -s localhost:8000/api/answer -H 'Content-Type: application/json' -d '{"inputs": ["a b c"]}'

  checkpoint                   run folder (its best checkpoint), or one checkpoint
  port                         8000 if not given; 0 for any that is free
  host                         127.0.0.1: only this machine; another address opens it to a network,
                               without passwords or encryption
  max_inputs, max_characters   inputs of a request, characters of a text
  generation.beam, nbest, lenpen, max_len_a, max_len_b     options of search; else as in training
  device                       auto, cpu or cuda
  plugins=[module,./file.py]   code that registers the model's components
  debug=true                   show the traceback of an error

POST /api/answer takes {"inputs": [...]} and, where text is generated, "beam", "nbest" and "lenpen",
by the rules of seqtrain-generate; it gives {"outputs": [...]} with what that writes, and
"unknown_percent", the share of an input's symbols that the model does not know. GET /api/model
tells what is read. An empty line has an empty answer, but a language model begins a text.
Options: -h, --help, --version, --cfg job (print the composed configuration)
"""

import sys
from typing import Any

from seqtrain_cli.command import Command
from seqtrain_cli.entry import run_command


def run(container: dict[str, Any]) -> None:
    """Serves until Ctrl-C."""
    from seqtrain.report.local_server import LOOPBACK
    from seqtrain.serve.answers import Limits
    from seqtrain.serve.model_server import model_server
    from seqtrain_cli.inference import open_model, read_settings
    from seqtrain_cli.schemas import ServeConfig

    settings = read_settings(ServeConfig, container)
    pipeline = open_model(settings)
    limits = Limits(max_inputs=settings.max_inputs, max_characters=settings.max_characters)
    server = model_server(pipeline, settings.host, settings.port, limits)
    print(f"{pipeline.path} is at {server.url} until Ctrl-C", flush=True)
    if settings.host not in (LOOPBACK, "localhost", "::1"):
        print("note: everybody who reaches this address can use it", flush=True)
    server.run()


COMMAND = Command("serve", __doc__, run)


def main() -> int:
    """Runs the command line of this process and returns the exit code."""
    return run_command(COMMAND)


if __name__ == "__main__":
    sys.exit(main())
