"""Random damage to the newest checkpoint of a real run: always noticed, by the name of the file."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_run import toy_config, write_toy_text

from seqtrain.checkpoint.layout import committed, updates_of
from seqtrain.checkpoint.load import read_newest
from seqtrain.pipeline import train

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with an average, after the updates 2 and 4."""
    folder = tmp_path_factory.mktemp("damaged")
    config: dict[str, Any] = toy_config(
        write_toy_text(folder / "text"),
        folder / "run",
        ema={"kind": "ema", "decay": 0.9},
        checkpoint={"save_interval_updates": 2},
        optimization={"max_update": 4},
        validation={"test_split": ""},
    )
    train(config)
    assert [updates_of(path.name) for path in committed(folder / "run" / "checkpoints")] == [4, 2]
    return folder / "run" / "checkpoints"


@pytest.fixture
def newest(checkpoints: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "checkpoints"
    shutil.copytree(checkpoints, copy)
    return committed(copy)[0]


def require_detected(newest: Path, *names: str) -> None:
    """The checkpoint is passed over with a line that names a damaged file; the older is taken."""
    lines: list[str] = []
    loaded = read_newest(newest.parent, lines.append, names=("trainer",))
    assert loaded is not None
    assert loaded.manifest.num_updates == 2
    assert loaded.parts["trainer"]["num_updates"] == 2
    assert any(str(newest / name) in lines[0] for name in names), (names, lines)
    assert "going back to step-0000000002" in lines[1]


def test_1000_flipped_bits_over_all_files_are_all_noticed(newest: Path) -> None:
    rng = random.Random(0)
    files = sorted(newest.iterdir())
    assert len(files) == 13
    for number in range(1000):
        file = files[number % len(files)]
        place, bit = rng.randrange(file.stat().st_size), 1 << rng.randrange(8)
        flip(file, place, bit)
        require_detected(newest, file.name)
        flip(file, place, bit)
    loaded = read_newest(newest.parent, pytest.fail)
    assert loaded is not None
    assert loaded.manifest.num_updates == 4


def flip(file: Path, place: int, bit: int) -> None:
    descriptor = os.open(file, os.O_RDWR)
    os.pwrite(descriptor, bytes([os.pread(descriptor, 1, place)[0] ^ bit]), place)
    os.close(descriptor)


def test_200_truncations_over_all_files_are_all_noticed(newest: Path) -> None:
    rng = random.Random(1)
    files = sorted(newest.iterdir())
    for number in range(200):
        file = files[number % len(files)]
        content = file.read_bytes()
        lengths = [0, 1, len(content) - 1, rng.randrange(len(content))]
        file.write_bytes(content[: rng.choice(lengths)])
        require_detected(newest, file.name)
        file.write_bytes(content)


Damage = Callable[[random.Random, Path, Path], list[str]]


def remove(rng: random.Random, file: Path, other: Path) -> list[str]:
    file.unlink()
    return [file.name]


def rename(rng: random.Random, file: Path, other: Path) -> list[str]:
    file.rename(file.with_name("x" + file.name))
    return [file.name, "x" + file.name]


def swap(rng: random.Random, file: Path, other: Path) -> list[str]:
    one, two = file.read_bytes(), other.read_bytes()
    file.write_bytes(two)
    other.write_bytes(one)
    return [file.name, other.name]


def take_the_older(rng: random.Random, file: Path, other: Path) -> list[str]:
    content = file.read_bytes()
    older = file.parent.with_name("step-0000000002") / file.name
    changed = older.read_bytes()
    file.write_bytes(changed if changed != content else content + b" ")
    return [file.name, "manifest.json"]


def append(rng: random.Random, file: Path, other: Path) -> list[str]:
    file.write_bytes(file.read_bytes() + rng.randbytes(rng.randint(1, 5000)))
    return [file.name]


def zero_a_block(rng: random.Random, file: Path, other: Path) -> list[str]:
    """As a disk that lost a write would."""
    content = file.read_bytes()
    begin = rng.randrange(len(content))
    zeros = bytes(len(content[begin : begin + 512]))
    changed = content[:begin] + zeros + content[begin + len(zeros) :]
    file.write_bytes(changed if changed != content else b"\1" + content[1:])
    return [file.name]


def double_a_block(rng: random.Random, file: Path, other: Path) -> list[str]:
    content = file.read_bytes()
    begin = rng.randrange(len(content))
    file.write_bytes(content[: begin + 64] + content[begin:])
    return [file.name]


def make_a_link(rng: random.Random, file: Path, other: Path) -> list[str]:
    outside = file.parent.parent.parent / "outside"
    file.rename(outside)
    file.symlink_to(outside)
    return [file.name]


def make_a_folder(rng: random.Random, file: Path, other: Path) -> list[str]:
    file.unlink()
    file.mkdir()
    return [file.name]


def make_a_pipe(rng: random.Random, file: Path, other: Path) -> list[str]:
    file.unlink()
    os.mkfifo(file)
    return [file.name]


def add_a_file(rng: random.Random, file: Path, other: Path) -> list[str]:
    name = rng.choice(["notes.txt", "data.pkl", "optimizer.bin", ".hidden", "model-2.safetensors"])
    (file.parent / name).write_bytes(rng.randbytes(20))
    return [name]


DAMAGES: list[Damage] = [
    remove, rename, swap, take_the_older, append, zero_a_block, double_a_block, make_a_link,
    make_a_folder, make_a_pipe, add_a_file,
]  # fmt: skip


def test_100_structural_damages_are_all_noticed(checkpoints: Path, tmp_path: Path) -> None:
    rng = random.Random(2)
    for number in range(100):
        damage = DAMAGES[number % len(DAMAGES)]
        folder = tmp_path / str(number)
        shutil.copytree(checkpoints, folder / "checkpoints")
        newest = committed(folder / "checkpoints")[0]
        file, other = rng.sample(sorted(newest.iterdir()), 2)
        require_detected(newest, *damage(rng, file, other))
