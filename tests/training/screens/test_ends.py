from pathlib import Path
from typing import Any

import pytest
from toy_run import toy_config

from seqtrain.plugins import load_plugins
from seqtrain.training.run_config import RunConfig
from seqtrain.training.screens.ends import ended_line, endless_note, passed_limits


def config(**sections: Any) -> RunConfig:
    load_plugins([])
    none = {"max_epoch": 0, "max_update": 0}
    optimization = none | sections.pop("optimization", {})
    return RunConfig.parse(
        toy_config(Path("text"), Path("run"), optimization=optimization, **sections)
    )


def test_a_run_without_an_end_is_said() -> None:
    (line,) = endless_note(config())
    assert "it trains until it is interrupted. optimization.max_update=N ends it" in line


@pytest.mark.parametrize(
    "section",
    [
        {"optimization": {"max_update": 5}},
        {"optimization": {"max_epoch": 5}},
        {"optimization": {"stop_time_hours": 0.5}},
        {"checkpoint": {"patience": 5}},
    ],
)
def test_a_run_with_an_end_needs_no_word(section: dict[str, Any]) -> None:
    assert endless_note(config(**section)) == []


def test_each_limit_that_is_reached_is_told_with_what_goes_on() -> None:
    limits = {"max_update": 7, "max_epoch": 2, "stop_time_hours": 0.5}
    run = config(optimization=limits, checkpoint={"patience": 3})
    assert passed_limits(run, 6, 1, 2, 1800.0) == []
    assert passed_limits(run, 7, 1, 2, 0.0) == ["optimization.max_update=M with M > 7"]
    assert passed_limits(run, 9, 2, 3, 3600.0) == [
        "optimization.max_update=M with M > 9",
        "optimization.max_epoch=E with E > 2",
        "optimization.stop_time_hours=H with H > 1",
        "checkpoint.patience=P with P > 3",
    ]


def test_several_limits_are_raised_together() -> None:
    line = ended_line(9, ["optimization.max_update=M with M > 9", "checkpoint.patience=P with ..."])
    assert line == (
        "This run has ended at update 9: write optimization.max_update=M with M > 9 and "
        "checkpoint.patience=P with ... to go on, or take another run_dir."
    )
