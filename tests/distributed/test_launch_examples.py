import importlib.util
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from seqtrain_cli.entry import run_command
from seqtrain_cli.train import COMMAND

FOLDER = Path(__file__).parents[2] / "examples" / "launch"
SCRIPTS = sorted(FOLDER.glob("*.sh"))
PAGES = sorted(FOLDER.glob("*.yaml"))


def shell_text(path: Path) -> str:
    """Returns the commands in a file; of YAML, those that its documents hold."""
    if path.suffix == ".sh":
        return path.read_text()
    found = []
    for document in yaml.safe_load_all(path.read_text()):
        spec = document["spec"]
        found.append(str(spec.get("entrypoint", "")))
        pod = spec.get("template", {}).get("spec", {})
        found += [" ".join(c.get("args", [])) for c in pod.get("containers", [])]
    return "\n".join(found)


def training_words(path: Path) -> list[str]:
    """Returns the key=value words of the training command in a file."""
    text = shell_text(path).replace("\\\n", " ")
    (line,) = [
        line
        for line in text.splitlines()
        if re.search(r"seqtrain-train|seqtrain_cli\.train|ray_torchrun\.py", line)
        and not line.lstrip().startswith("#")
    ]
    command = re.split(r"seqtrain-train|seqtrain_cli\.train|ray_torchrun\.py", line)[-1]
    words = [word for word in shlex.split(command) if not word.startswith("--") and "=" in word]
    return [re.sub(r"^([^=]+=[^\[,]+),.*", r"\1", word) for word in words]  # a sweep's first choice


@pytest.mark.parametrize("path", [*SCRIPTS, *PAGES], ids=lambda path: path.name)
def test_the_training_command_of_a_launch_file_composes(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = training_words(path)
    assert run_command(COMMAND, ["--cfg", "job", *words]) == 0
    composed = yaml.safe_load(capsys.readouterr().out)
    assert composed["run_dir"].startswith("/shared/runs/")
    assert composed["checkpoint"]["save_interval_updates"] == 200


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_launch_script_is_readable_shell(path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_the_script_for_ray_starts_the_training_command_on_each_node() -> None:
    spec = importlib.util.spec_from_file_location("ray_torchrun", FOLDER / "ray_torchrun.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # which does not import ray
    words = module.torchrun_words(2, 8, 1, "10.0.0.1", ["run_dir=/shared/run"])
    assert words[3:7] == ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=8"]
    assert "--rdzv-endpoint=10.0.0.1:29400" in words
    assert "--rdzv-conf=is_host=0" in words
    assert words[-3:] == ["-m", "seqtrain_cli.train", "run_dir=/shared/run"]


def test_every_launch_file_is_in_the_readme() -> None:
    readme = (FOLDER / "README.md").read_text()
    names = {path.name for path in FOLDER.iterdir() if path.is_file()} - {"README.md"}
    assert {name for name in names if f"`{name}`" in readme} == names
