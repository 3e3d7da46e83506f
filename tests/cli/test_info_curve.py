"""seqtrain-info about the learning rates of a run."""

import sys
from pathlib import Path

import pytest

from seqtrain.lr_schedulers.cosine import Cosine, CosineConfig
from seqtrain_cli.info import main as info

COSINE = [
    "lr_scheduler=cosine",
    "lr_scheduler.warmup_updates=10",
    "optimizer.lr=0.5",
    "optimization.max_update=200",
]
OWN = 'optimizer.groups=[{pattern:"model.encoder.*",lr_scheduler:{name:constant}}]'


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEQTRAIN_DISABLE_PLUGINS", "1")


def table(out: str) -> dict[int, list[float]]:
    rows = [line.split() for line in out.splitlines() if line.split()[0].isdecimal()]
    return {int(row[0]): [float(value) for value in row[1:]] for row in rows}


def test_the_printed_rates_are_those_of_the_schedule(capsys: pytest.CaptureFixture[str]) -> None:
    assert info(COSINE) == 0
    out = capsys.readouterr().out
    schedule = Cosine(CosineConfig(warmup_updates=10), 0.5, 200)
    found = table(out)
    assert list(found) == [1, *range(20, 201, 20)]
    assert [rates for (rates,) in found.values()] == pytest.approx(
        [schedule.lr_at(update) for update in found], rel=1e-5
    )
    assert "highest lr_scheduler: 0.5, first at update 10" in out


def test_plot_draws_and_writes_nothing_else(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert info([*COSINE, "plot=curve.png"]) == 0
    assert "drawn in curve.png" in capsys.readouterr().out
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


def test_own_schedules_of_groups_have_a_curve_each(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert info([*COSINE, OWN, "plot=curve.svg"]) == 0
    found = table(capsys.readouterr().out)
    assert all(len(rates) == 2 and rates[1] == 0.5 for rates in found.values())
    assert "<!-- optimizer.groups[0] -->" in (tmp_path / "curve.svg").read_text()


def test_a_schedule_that_follows_validation_says_what_the_curve_leaves_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["lr_scheduler=reduce_lr_on_plateau", "optimization.max_update=20"]
    assert info(words) == 0
    assert "every validation makes progress" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["lr_scheduler=cosine", "plot=a.png"], 2, "set optimization.max_update"),
        ([*COSINE, "plot=a.jpg"], 2, "must end with one of .png, .svg, .pdf"),
        ([*COSINE, "plot=nowhere/a.png"], 5, "there is no folder nowhere"),
        ([*COSINE, "lr_scheduler.warm_up=1"], 2, "Did you mean"),
        ([*COSINE, "lr_scheduler.warmup_updates=500"], 2, "lr_scheduler.decay_updates"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert info(words) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_without_matplotlib_the_message_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert info([*COSINE, "plot=a.png"]) == 5
    assert "pip install 'seqtrain[plot]'" in capsys.readouterr().err
    assert info(COSINE) == 0
