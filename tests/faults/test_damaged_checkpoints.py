"""Damage and malice in every file of a checkpoint: noticed, named, never executed."""

import hashlib
import json
import os
import pickle
import random
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seqtrain.checkpoint.commit import write_checkpoint
from seqtrain.checkpoint.load import read_checkpoint, read_newest
from seqtrain.errors import CheckpointError


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints 10 and 20."""
    directory = tmp_path_factory.mktemp("pristine")
    for num_updates in (10, 20):
        weight = torch.full((30, 10), float(num_updates))
        parts: dict[str, Any] = {
            "model": {"weight": weight, "tied": weight},
            "trainer": {"losses": [1.5, float("inf")], "moments": {"weight": weight + 1}},
        }
        write_checkpoint(directory, num_updates, parts, {"epoch": 1})
    return directory


@pytest.fixture
def newest(pristine: Path, tmp_path: Path) -> Path:
    """The newer of two checkpoints in a folder of its own."""
    shutil.copytree(pristine, tmp_path / "checkpoints")
    return tmp_path / "checkpoints" / "step-0000000020"


def require_detected(newest: Path, name: str) -> None:
    """Reading fails naming the file, and the older checkpoint is taken instead."""
    with pytest.raises(CheckpointError) as refusal:
        read_checkpoint(newest)
    assert str(newest / name) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    lines: list[str] = []
    loaded = read_newest(newest.parent, lines.append)
    assert loaded is not None
    assert loaded.manifest.num_updates == 10
    assert name in lines[0]


def resign(checkpoint: Path) -> None:
    """Makes sizes and checksums right again after a change, as an attacker can."""
    manifest = json.loads((checkpoint / "manifest.json").read_bytes())
    del manifest["sha256"]
    manifest["files"] = []
    for file in sorted(checkpoint.iterdir()):
        if file.name != "manifest.json":
            data = file.read_bytes()
            row = {"name": file.name, "size": len(data), "crc32": zlib.crc32(data)}
            manifest["files"].append(row)
    text = json.dumps(manifest, indent=1).encode()
    manifest["sha256"] = hashlib.sha256(text).hexdigest()
    (checkpoint / "manifest.json").write_bytes(json.dumps(manifest, indent=1).encode() + b"\n")


def test_every_one_of_500_flipped_bits_is_noticed(newest: Path) -> None:
    rng = random.Random(0)
    files = sorted(newest.iterdir())
    originals = {file: file.read_bytes() for file in files}
    for index in range(500):
        file = files[index % len(files)]
        data = bytearray(originals[file])
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        require_detected(newest, file.name)
        file.write_bytes(originals[file])
    assert read_checkpoint(newest).manifest.num_updates == 20


def test_every_truncation_and_every_lengthening_is_noticed(newest: Path) -> None:
    rng = random.Random(1)
    for file in sorted(newest.iterdir()):
        original = file.read_bytes()
        lengths = {0, 1, 7, 8, 9, len(original) - 1, *rng.sample(range(len(original)), 15)}
        for data in [*(original[:length] for length in sorted(lengths)), original + b"\0"]:
            file.write_bytes(data)
            require_detected(newest, file.name)
        file.write_bytes(original)


def test_missing_file_is_noticed(newest: Path) -> None:
    for file in sorted(newest.iterdir()):
        hidden = file.rename(newest.parent / "hidden")
        require_detected(newest, file.name)
        hidden.rename(file)


@pytest.mark.parametrize("name", ["extra.json", "data.pkl", ".hidden", "model.safetensors.bak"])
def test_file_too_many_is_noticed(newest: Path, name: str) -> None:
    (newest / name).touch()
    require_detected(newest, name)


def test_files_of_another_checkpoint_are_noticed(newest: Path) -> None:
    older = newest.with_name("step-0000000010")
    for name in ("model.safetensors", "trainer.safetensors", "manifest.json"):
        original = (newest / name).read_bytes()
        (newest / name).write_bytes((older / name).read_bytes())
        with pytest.raises(CheckpointError, match=str(newest)):
            read_checkpoint(newest)
        (newest / name).write_bytes(original)


def test_link_in_the_place_of_a_file_is_refused(newest: Path, tmp_path: Path) -> None:
    for file in sorted(newest.iterdir()):
        outside = file.rename(tmp_path / file.name)
        file.symlink_to(outside)
        require_detected(newest, file.name)
        file.unlink()
        outside.rename(file)


def test_pipe_or_directory_in_the_place_of_a_file_is_refused_without_waiting(newest: Path) -> None:
    for make in (os.mkfifo, os.mkdir):
        for name in ("model.json", "manifest.json"):
            original = (newest / name).read_bytes()
            (newest / name).unlink()
            make(newest / name)
            require_detected(newest, name)
            if make is os.mkfifo:
                (newest / name).unlink()
            else:
                (newest / name).rmdir()
            (newest / name).write_bytes(original)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "manifest.json"])
@pytest.mark.parametrize("kind", ["pickle", "torch", "torch_legacy"])
def test_pickle_under_a_known_name_is_refused_and_not_executed(
    newest: Path, tmp_path: Path, name: str, kind: str
) -> None:
    marker = tmp_path / "executed"
    file = newest / name
    if kind == "pickle":
        file.write_bytes(pickle.dumps(Bomb(marker)))
    else:
        torch.save({"weight": Bomb(marker)}, file, _use_new_zipfile_serialization=kind == "torch")
    if name != "manifest.json":
        resign(newest)
    require_detected(newest, name)
    assert not marker.exists()


def header(text: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


LYING_TENSOR_FILES = {
    "header of 2^60 bytes": header(b"{}", length=2**60),
    "header of 2^64 - 1 bytes": header(b"{}", length=2**64 - 1),
    "no tensors": header(b"{}"),
    "deep": header(b"[" * 10**6),
    "tensor of 2^62 bytes": header(
        b'{"weight":{"dtype":"F32","shape":[1152921504606846976],'
        b'"data_offsets":[0,4611686018427387904]}}'
    ),
    "overlap": header(
        b'{"weight":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},'
        b'"x":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}',
        bytes(8),
    ),
    "hole": header(b'{"weight":{"dtype":"U8","shape":[8],"data_offsets":[8,16]}}', bytes(16)),
    "huge number": header(b'{"weight":' + b"9" * 10**5 + b"}"),
    "name that is a path": header(
        b'{"../../x":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}', bytes(8)
    ),
}


@pytest.mark.parametrize("data", LYING_TENSOR_FILES.values(), ids=LYING_TENSOR_FILES.keys())
def test_signed_tensor_file_that_lies_is_refused(newest: Path, data: bytes) -> None:
    (newest / "model.safetensors").write_bytes(data)
    resign(newest)
    require_detected(newest, "model.")


LYING_TEXTS = {
    "deep lists": b"[" * 10**6,
    "deep objects": b'{"a":' * 10**5,
    "deep but complete": b"[" * 500 + b"]" * 500,
    "no reference": b"{}",
    "unknown reference": b'{"weight":{"$tensor":"other"},"tied":{"$tensor":"weight"}}',
    "reference that is a path": b'{"$tensor":"../../x"}',
    "unknown marker": b'{"$import":"os.system"}',
    "not a number": b'{"weight":{"$tensor":"weight"},"x":NaN}',
    "repeated key": b'{"weight":{"$tensor":"weight"},"weight":1}',
    "not UTF-8": b'"\xff"',
    "huge": b'"' + b"x" * 17 * 2**20 + b'"',
}


@pytest.mark.parametrize("data", LYING_TEXTS.values(), ids=LYING_TEXTS.keys())
def test_signed_text_that_lies_is_refused(newest: Path, data: bytes) -> None:
    (newest / "model.json").write_bytes(data)
    resign(newest)
    require_detected(newest, "model.json")


@pytest.mark.parametrize("name", ["../outside.json", "/etc/hostname", "sub/model.json", "x.pkl"])
def test_signed_manifest_with_a_file_name_that_leads_outside_is_refused(
    newest: Path, name: str
) -> None:
    (newest.parent / "outside.json").write_text("{}")
    path = newest / "manifest.json"
    fields = json.loads(path.read_bytes())
    del fields["sha256"]
    fields["files"].insert(0, {"name": name, "size": 2, "crc32": zlib.crc32(b"{}")})
    signed = hashlib.sha256(json.dumps(fields, indent=1).encode()).hexdigest()
    path.write_bytes(json.dumps(fields | {"sha256": signed}, indent=1).encode() + b"\n")
    require_detected(newest, "manifest.json")


def test_checkpoint_that_is_a_link_is_not_followed(newest: Path, tmp_path: Path) -> None:
    outside = newest.rename(tmp_path / "step-0000000020")
    newest.symlink_to(outside)
    lines: list[str] = []
    loaded = read_newest(newest.parent, lines.append)
    assert loaded is not None
    assert loaded.manifest.num_updates == 10
    assert "step-0000000020: not a directory" in lines[0]
