"""The settings of a run as a tracker of experiments wants them: dotted keys and plain values."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Plain = str | int | float | bool | None


def run_settings(run_dir: Path) -> dict[str, Plain]:
    """Returns what the run recorded of its configuration; lists as their JSON text.

    The file is there before the first row, not yet when log writers are built.
    """
    path = run_dir / "config.json"
    if not path.is_file():
        return {}
    return dict(_flat(json.loads(path.read_text(encoding="utf-8")), ""))


def _flat(section: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Plain]]:
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", json.dumps(value)
        else:
            yield f"{prefix}{name}", value
