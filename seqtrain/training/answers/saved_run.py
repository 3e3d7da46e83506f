"""The config and the task of a trained run, from a checkpoint of it."""

from seqtrain.checkpoint.load import LoadedCheckpoint, applying
from seqtrain.errors import CheckpointError, ConfigError, DataError, UnknownNameError
from seqtrain.tasks.base import TASKS, Task
from seqtrain.training.resume import first_difference
from seqtrain.training.run_config import RunConfig


def read_run(loaded: LoadedCheckpoint) -> tuple[RunConfig, Task]:
    """Returns the config and the task, without data, of a checkpoint with those parts.

    Raises:
        UnknownNameError: A component is not registered. The message names the plug-ins that the
            run was trained with; nothing that a checkpoint names is imported.
        CheckpointError: The parts are not those of a run.
    """
    task: Task
    try:
        with applying(loaded.path):
            config = RunConfig.parse(loaded.parts["config"])
            task = TASKS.get(config.task.name).cls.from_state(config.task, loaded.parts["task"])
    except UnknownNameError as error:
        names = ",".join(str(name) for name in _plugin_names(loaded))
        if not names:
            raise UnknownNameError(f"{loaded.path}: {error}") from error
        raise UnknownNameError(
            f"{error} {loaded.path} was trained with the plug-ins {names}: if you trust them, "
            f"install the packages among them, or give plugins=[{names}]."
        ) from error
    except (ConfigError, DataError) as error:
        raise CheckpointError(f"{loaded.path}: {error}") from error
    return config, task


def require_same_symbols(trained: Task, task: Task, path: str) -> None:
    """Refuses data whose ids mean other symbols than those that the model was trained on.

    Args:
        trained: The task of the checkpoint.
        task: The task with the data.
        path: Where the data is, for the message.

    Raises:
        DataError: They differ; the message says where.
    """
    difference = first_difference(trained.state_dict(), task.state_dict(), "task")
    if difference:
        raise DataError(
            f"{path} has another vocabulary or tokenizer than the model was trained with, at "
            f"{difference}. Name the data of the training with data=, or give text with input=."
        )


def _plugin_names(loaded: LoadedCheckpoint) -> list[str]:
    plugins = loaded.manifest.about.get("plugins", [])
    return [plugin["name"] for plugin in plugins if isinstance(plugin, dict) and "name" in plugin]
