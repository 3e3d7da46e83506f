"""Plug-ins named by the path of a package or of a project."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seqtrain.plugins import load_plugins, loaded_plugins
from seqtrain_cli.new_plugin import main as new_plugin

PLUGIN = """
from dataclasses import dataclass
from seqtrain.lr_schedulers.base import LRScheduler, LRSchedulerConfig, register_lr_scheduler

@dataclass(kw_only=True)
class Config(LRSchedulerConfig):
    '''A rate of its own.'''

@register_lr_scheduler("{name}", config=Config)
class Schedule(LRScheduler):
    '''The rate.'''
    def lr_at(self, num_updates: int) -> float:
        return self.peak_lr
"""


@pytest.fixture(autouse=True)
def path_is_put_back() -> Iterator[None]:
    before = list(sys.path)
    yield
    sys.path[:] = before


def write_package(folder: Path, component: str) -> Path:
    """A package whose only registration is in a second file."""
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(f"from {folder.name} import rates\n")
    (folder / "rates.py").write_text(PLUGIN.replace("{name}", component))
    return folder


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("folder_pkg_a", "./folder_pkg_a"),
        ("folder_pkg_b", "./folder_pkg_b/"),
        ("project/folder_pkg_c", "./project"),
        ("other/src/folder_pkg_d", "other/../other"),
        ("deep/er/folder_pkg_e", "deep/er/folder_pkg_e"),
    ],
)
def test_a_package_is_loaded_by_its_folder_or_by_that_of_its_project(
    compose: Any, tmp_path: Path, package: str, name: str
) -> None:
    folder = write_package(tmp_path / package, f"rate_of_{Path(package).name}")
    (folder.parent / "tests").mkdir()
    (folder.parent / "tests/__init__.py").write_text("raise OSError('not a plug-in')")
    config = compose(f"plugins={name}", f"lr_scheduler=rate_of_{folder.name}").config
    assert config.plugins == [name]
    (record,) = [each for each in loaded_plugins() if each.name == name]
    assert record.origin == str(folder / "__init__.py")


def test_several_folders_and_their_modules_load_once_each(compose: Any, tmp_path: Path) -> None:
    write_package(tmp_path / "folder_pkg_f", "rate_f")
    write_package(tmp_path / "sub/folder_pkg_g", "rate_g")
    plugins = "plugins=[./folder_pkg_f,./sub,folder_pkg_f,./folder_pkg_f,folder_pkg_g]"
    assert compose(plugins, "lr_scheduler=rate_g").exit_code == 0
    found = [record.name for record in loaded_plugins() if "folder_pkg" in record.origin]
    assert found.count("./folder_pkg_f") == found.count("./sub") == 1
    assert not {"folder_pkg_f", "folder_pkg_g"} & set(found)


def test_the_hash_of_a_package_tells_a_change_in_any_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("hash_i", "x = 1"), ("hash_j", "x = 1"), ("hash_k", "x = 2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "values.py").write_text(text)
    load_plugins(["./hash_i", "./hash_j", "./hash_k"])
    hashes = [each.sha256 for each in loaded_plugins() if each.name.startswith("./hash_")]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_folder_that_is_no_package_says_what_to_write(compose: Any, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    for name in ("one", "two"):
        (tmp_path / "several" / name).mkdir(parents=True)
        (tmp_path / "several" / name / "__init__.py").write_text("")
    (tmp_path / "my-lab").mkdir()
    (tmp_path / "my-lab/__init__.py").write_text("")
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("")
    for name, expected in (
        ("./nothing", "name a file, as plugins=[./nothing/my_plugin.py]"),
        ("./several", "write plugins=[./several/one] or plugins=[./several/two]"),
        ("./my-lab", "Rename the folder, as my_lab."),
        ("./torch", "Python has another module of that name"),
        ("nothing", "write its path, plugins=[./nothing]"),
    ):
        outcome = compose(f"plugins={name}")
        assert expected in outcome.error
        assert (outcome.exit_code, outcome.error.count("\n")) == (2, 1)


def test_what_the_kit_writes_is_a_plugin_by_its_folder(
    compose: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new_plugin(["name=folder_kit", "out=lab"]) == 0
    capsys.readouterr()
    assert "write its path, plugins=[./lab]" in compose("plugins=lab").error
    config = compose("plugins=./lab", "experiment=folder_kit", "model=folder_kit_small").config
    assert (config.model.name, config.criterion.name) == ("folder_kit", "folder_kit_focal")
    load_plugins(["./lab/folder_kit"])
    assert [each.name for each in loaded_plugins() if "folder_kit" in each.origin] == ["./lab"]
