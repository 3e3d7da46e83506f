"""seqtrain-export: writes a trained model in a form for use elsewhere. Settings are key=value.

  seqtrain-export checkpoint=RUN format=safetensors out=FOLDER
  seqtrain-export checkpoint=RUN format=huggingface out=FOLDER
  seqtrain-export checkpoint=RUN format=ctranslate2 quantization=int8 out=FOLDER

  checkpoint                   run folder (its best checkpoint), or one checkpoint
  format                       safetensors: weights, config, tokenizers; this package loads it
                               huggingface: transformers loads it
                               torch_export: programs for torch, without this package
                               onnx: graphs for onnxruntime and others (extra onnx)
                               ctranslate2: fast translation on a CPU (extra ctranslate2)
  out                          folder to make; it appears when it is complete
  overwrite=true               replace what an earlier seqtrain-export wrote there
  quantization                 for ctranslate2: int8, int8_float32, int16, float16, bfloat16 ...
  plugins=[module,./file.py]   code that registers the model's components
  debug=true                   show the traceback of an error

The weights are those that evaluation uses: with a section `ema`, its average.
Options: -h, --help, --version, --cfg job (print the composed configuration)
"""

import sys
from pathlib import Path
from typing import Any

from seqtrain_cli.command import Command
from seqtrain_cli.entry import run_command


def run(container: dict[str, Any]) -> None:
    """Exports, and says where the result is and what people should know of it."""
    from seqtrain.config_schema import parse_section
    from seqtrain.errors import ConfigError
    from seqtrain.interop.export import ExportRequest, export
    from seqtrain_cli.schemas import ExportConfig

    settings = parse_section(ExportConfig(), container, "")
    for key in ("checkpoint", "format", "out"):
        if not getattr(settings, key):
            raise ConfigError(f"{key} is not set. See seqtrain-export --help.")
    request = ExportRequest(
        checkpoint=Path(settings.checkpoint),
        format=settings.format,
        out=Path(settings.out),
        overwrite=settings.overwrite,
        quantization=settings.quantization,
    )
    for line in export(request):
        print(line)
    print(f"written to {request.out}")


COMMAND = Command("export", __doc__, run)


def main() -> int:
    """Runs the command line of this process and returns the exit code."""
    return run_command(COMMAND)


if __name__ == "__main__":
    sys.exit(main())
