"""Plug-ins: how they are named, found and loaded once, and what is said when one fails."""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seqtrain.plugins import load_plugins, loaded_plugins
from seqtrain_cli.info import main as info

PLUGIN = """
from dataclasses import dataclass
from seqtrain.lr_schedulers.base import LRScheduler, LRSchedulerConfig, register_lr_scheduler

@dataclass(kw_only=True)
class Config(LRSchedulerConfig):
    '''A rate of its own.'''
    factor: float = 2.0
    '''Multiplies optimizer.lr.'''
    steps: list[int] = None

    def __post_init__(self) -> None:
        self.steps = self.steps or []

@register_lr_scheduler("{name}", config=Config)
class Schedule(LRScheduler):
    '''The rate times a factor.'''
    def lr_at(self, num_updates: int) -> float:
        return self.peak_lr * self.config.factor
"""


@pytest.fixture(autouse=True)
def path_is_put_back() -> Iterator[None]:
    before = list(sys.path)
    yield
    sys.path[:] = before


def write_plugin(path: Path, name: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PLUGIN.replace("{name}", name))
    return path


def test_a_file_registers_its_components_before_composition(compose: Any, tmp_path: Path) -> None:
    write_plugin(tmp_path / "one.py", "from_file")
    config = compose("plugins=[./one.py]", "lr_scheduler=from_file", "lr_scheduler.factor=3").config
    assert (config.lr_scheduler.name, config.lr_scheduler.factor) == ("from_file", 3.0)
    assert config.plugins == ["./one.py"]


def test_one_plugin_needs_no_brackets(compose: Any, tmp_path: Path) -> None:
    write_plugin(tmp_path / "two.py", "bare")
    assert compose("plugins=./two.py", "lr_scheduler=bare").config.plugins == ["./two.py"]


def test_lists_of_a_plugin_need_no_brackets_either(compose: Any, tmp_path: Path) -> None:
    write_plugin(tmp_path / "listing.py", "listing")
    config = compose("plugins=./listing.py", "lr_scheduler=listing", "lr_scheduler.steps=3").config
    assert config.lr_scheduler.steps == [3]


def test_a_module_in_the_working_directory_is_found(compose: Any, tmp_path: Path) -> None:
    write_plugin(tmp_path / "my_package_a" / "rates.py", "from_module")
    config = compose("plugins=[my_package_a.rates]", "lr_scheduler=from_module").config
    assert config.lr_scheduler.name == "from_module"


def test_the_environment_names_plugins_too(
    compose: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(tmp_path / "three.py", "from_environment")
    monkeypatch.setenv("SEQTRAIN_PLUGINS", "./three.py")
    config = compose("lr_scheduler=from_environment").config
    assert config.plugins == ["./three.py"]


def test_an_experiment_names_its_own_plugins(compose: Any, tmp_path: Path) -> None:
    write_plugin(tmp_path / "four.py", "from_experiment")
    write_plugin(tmp_path / "five.py", "besides")
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/own.yaml").write_text(
        "# @package _global_\n"
        "defaults: [override /lr_scheduler: from_experiment]\n"
        "plugins: [./four.py]\n"
    )
    words = ["--config-dir=mine", "experiment=own", "lr_scheduler.factor=5"]
    assert compose(*words).config.lr_scheduler.factor == 5.0
    both = compose(*words, "plugins=[./five.py]").config
    assert both.plugins == ["./five.py", "./four.py"]


def test_a_plugin_may_bring_presets_and_experiments(compose: Any, tmp_path: Path) -> None:
    path = write_plugin(tmp_path / "six.py", "with_presets")
    with path.open("a") as file:
        file.write(
            "from pathlib import Path\nfrom seqtrain.plugins import register_config_dir\n"
            "register_config_dir(Path(__file__).parent / 'conf')\n"
        )
    (tmp_path / "conf/lr_scheduler").mkdir(parents=True)
    (tmp_path / "conf/lr_scheduler/fast.yaml").write_text(
        "defaults: [with_presets, _self_]\nfactor: 7\n"
    )
    config = compose("plugins=./six.py", "lr_scheduler=fast").config
    assert (config.lr_scheduler.name, config.lr_scheduler.factor) == ("with_presets", 7.0)


def test_completion_knows_the_plugin_on_the_line(
    compose: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(tmp_path / "seven.py", "completed")
    line = "seqtrain-train plugins=[./seven.py] lr_scheduler=comp"
    monkeypatch.setitem(os.environ, "COMP_LINE", line)
    assert compose("-sc", "query=bash").out.split() == ["lr_scheduler=completed"]


def test_loading_twice_is_loading_once_whatever_the_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_plugin(tmp_path / "eight.py", "once")
    load_plugins(["./eight.py", "eight.py", str(path)])
    load_plugins(["./eight.py"])
    records = [record for record in loaded_plugins() if record.origin == str(path)]
    assert [record.name for record in records] == ["./eight.py"]
    assert len(records[0].sha256) == 64


FAULTS = {
    "raises": ("raise RuntimeError('no\\nluck')", "at {path}:1: RuntimeError: no."),
    "leaves": ("import sys\nsys.exit(3)", "at {path}:2: it ends the program with SystemExit(3)."),
    "imports": ("import no_such_module", "at {path}:1: ModuleNotFoundError: No module named"),
    "grammar": ("def (", "at {path}:1: SyntaxError"),
    "deep": ("import json\njson.loads('{')", "JSONDecodeError"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_plugin_that_fails_is_named_with_the_line_and_the_reason(
    compose: Any, tmp_path: Path, fault: str
) -> None:
    source, expected = FAULTS[fault]
    path = tmp_path / f"bad_{fault}.py"
    path.write_text(source)
    outcome = compose(f"plugins=[./{path.name}]")
    assert f"The plug-in './{path.name}' fails at " in outcome.error
    assert expected.format(path=path) in outcome.error
    assert (outcome.exit_code, outcome.error.count("\n")) == (2, 1)


def test_a_missing_plugin_differs_from_a_plugins_missing_import(
    compose: Any, tmp_path: Path
) -> None:
    assert "There is no plug-in module 'no_such_plugin'" in compose("plugins=no_such_plugin").error
    (tmp_path / "package_b").mkdir()
    (tmp_path / "package_b/mod.py").write_text("import no_such_plugin")
    assert "no module 'package_b.other'" in compose("plugins=package_b.other").error
    folder = compose("plugins=package_b")
    assert "write its path, plugins=[./package_b]" in folder.error
    assert (folder.exit_code, folder.error.count("\n")) == (2, 1)
    broken = compose("plugins=package_b.mod").error
    assert "fails at" in broken
    assert "No module named 'no_such_plugin'" in broken


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("./missing.py", "does not exist"),
        (".", "neither a dotted module"),
        ("..relative", "neither a dotted module"),
        ("./", "holds no Python package"),
    ],
)
def test_a_name_that_is_no_plugin_is_refused(compose: Any, name: str, expected: str) -> None:
    outcome = compose(f"plugins=[{name}]")
    assert expected in outcome.error
    assert outcome.exit_code == 2


def test_two_components_of_one_name_are_refused_with_both_places(
    compose: Any, tmp_path: Path
) -> None:
    first = write_plugin(tmp_path / "nine.py", "taken")
    second = write_plugin(tmp_path / "ten.py", "taken")
    outcome = compose("plugins=[./nine.py,./ten.py]")
    assert outcome.exit_code == 2
    assert "Two classes register as lr_scheduler 'taken'" in outcome.error
    assert f"{first}:" in outcome.error
    assert f"{second}:" in outcome.error


def test_a_presets_folder_that_does_not_exist_is_the_plugins_fault(
    compose: Any, tmp_path: Path
) -> None:
    (tmp_path / "eleven.py").write_text(
        "from seqtrain.plugins import register_config_dir\nregister_config_dir('/no/such')\n"
    )
    assert "/no/such is not a folder" in compose("plugins=./eleven.py").error


def test_a_broken_installed_plugin_is_a_warning(
    compose: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site = tmp_path / "site"
    for name, source in (("good_dist", None), ("bad_dist", "raise OSError('bad day')")):
        path = write_plugin(site / f"{name}.py", "installed")
        if source:
            path.write_text(source)
        (site / f"{name}-1.5.dist-info").mkdir()
        (site / f"{name}-1.5.dist-info/METADATA").write_text(f"Name: {name}\nVersion: 1.5\n")
        (site / f"{name}-1.5.dist-info/top_level.txt").write_text(name)
        entry = f"[seqtrain.plugins]\n{name} = {name}\n"
        (site / f"{name}-1.5.dist-info/entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    monkeypatch.delenv("SEQTRAIN_DISABLE_PLUGINS")
    assert compose("lr_scheduler=installed").exit_code == 0
    assert "'bad_dist' is left out" in caplog.text
    assert "OSError: bad day" in caplog.text
    (record,) = [record for record in loaded_plugins() if record.name == "good_dist"]
    assert record.version == "1.5"


def test_info_lists_plugins_and_their_components(
    compose: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_plugin(tmp_path / "twelve.py", "shown")
    words = ["lr_scheduler", "lr_scheduler=shown", "plugins", f"plugins={path}"]
    assert info(words) == 0
    printed = capsys.readouterr().out
    assert f"shown                        The rate times a factor. (plug-in {path})\n" in printed
    assert "shown: A rate of its own.\n" in printed
    assert f"in {path}:" in printed
    assert f", plug-in {path}\n" in printed
    assert "  factor: float = 2.0\n      Multiplies optimizer.lr.\n" in printed
    assert f"{path}: {path} (sha256 " in printed


def test_info_says_whose_each_component_is_and_explains_sections(
    compose: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_plugin(tmp_path / "thirteen.py", "whose")
    assert info([f"plugins={path}"]) == 0
    assert f"lr_scheduler=whose (plug-in {path})" in capsys.readouterr().out
    assert info(["optimization", "run", "all"]) == 0
    printed = capsys.readouterr().out
    assert "  max_update: int = 0\n      Stop after this many updates" in printed
    assert "  run_dir: str = 'runs/seqtrain'\n      Folder of the run" in printed
    assert "  masking.rate: float = 0.15\n" in printed
    components = [line for line in printed.splitlines() if line.startswith("class ")]
    assert len(components) > 70
    added = [line for line in components if not line.endswith(", built-in")]
    assert all(", plug-in " in line or ", module " in line for line in added)
