"""Which settings of a task say nothing, since its data is prepared already."""

from collections.abc import Sequence
from dataclasses import fields

from seqtrain.tasks.base import Task


def unread_settings_note(task: Task) -> list[str]:
    """Returns lines on what is set for raw data beside `task.data`."""
    config = task.config
    if not config.data:
        return []
    plain = type(config)(name=config.name)
    names = [spec.name for spec in fields(config)]
    given = {n: getattr(config, n) for n in names if getattr(config, n) != getattr(plain, n)}
    lines = []
    if raw := [f"task.{name}" for name in task.raw_settings if name in given]:
        verb = "is" if len(raw) == 1 else "are"
        lines.append(
            f"note: {_listed(raw)} {verb} not used: the data is in task.data={config.data}"
        )
    lines += [
        f"note: task.{name}={given[name]} is not used: task.data={config.data} was prepared with "
        f"{used}"
        for name, used in task.prepared_with().items()
        if name in given and given[name] != used
    ]
    return lines


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
