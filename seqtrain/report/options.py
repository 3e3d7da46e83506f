"""The options of runs, and where they differ."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from seqtrain.report.run_log import RunLog

MOST_OPTIONS = 3_000
NOT_SET = "-"


def options_of(run: RunLog) -> dict[str, str]:
    """Returns every option of a run by its dotted key, as text."""
    return dict(sorted(_flat(run.config, "").items())[:MOST_OPTIONS])


def differing_options(runs: Sequence[RunLog]) -> dict[str, list[str]]:
    """Returns the options that are not the same in all runs, with the value in each."""
    options = [options_of(run) for run in runs]
    keys = sorted({key for found in options for key in found} - {"run_dir"})
    rows = {key: [found.get(key, NOT_SET) for found in options] for key in keys}
    return {key: values for key, values in rows.items() if len(set(values)) > 1}


def _flat(values: Mapping[str, Any], prefix: str) -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, str) and value else json.dumps(value)
    return flat
