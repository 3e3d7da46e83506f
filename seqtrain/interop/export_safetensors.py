"""A model in one folder that this package loads anywhere."""

from pathlib import Path

from seqtrain.checkpoint.commit import write_checkpoint
from seqtrain.checkpoint.load import inspect
from seqtrain.interop.export_folder import EXPORTED
from seqtrain.pipeline import Pipeline


def write_safetensors(pipeline: Pipeline, folder: Path) -> list[str]:
    """Writes a checkpoint that holds what use of the model needs, and no state of the training.

    The weights are those for use: the average, if the run keeps one. Every file's checksum is in
    the manifest, as in any checkpoint.
    """
    manifest = inspect(pipeline.path)
    parts = {
        "config": pipeline.config.to_container(),
        "task": pipeline.task.state_dict(),
        "model": pipeline.model.state_dict(),
        "criterion": pipeline.criterion.state_dict(),
    }
    about = {
        "plugins": manifest.about.get("plugins", []),
        EXPORTED: {"from": pipeline.path.name, "sha256": manifest.sha256},
    }
    written = write_checkpoint(folder, manifest.num_updates, parts, about)
    for path in written.iterdir():
        path.rename(folder / path.name)
    written.rmdir()
    return ["seqtrain.pipeline.load and the commands take the folder as a checkpoint."]
