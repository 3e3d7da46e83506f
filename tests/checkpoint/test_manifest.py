import hashlib
import json
from typing import Any

import pytest
import torch

import seqtrain
from seqtrain.checkpoint.manifest import FORMAT_VERSION, FileEntry, Manifest
from seqtrain.errors import CheckpointError

FILES = [FileEntry("trainer.json", 2, 7), FileEntry("model.json", 3, 2**32 - 1)]


def example(about: dict[str, Any] | None = None) -> Manifest:
    return Manifest.describe(12, 2, about or {"epoch": 1, "plugins": ["é"]}, FILES)


def resigned(**changes: Any) -> bytes:
    """A manifest whose checksum is right and whose content is not."""
    fields = json.loads(example().to_bytes())
    del fields["sha256"]
    fields |= changes
    signed = hashlib.sha256(json.dumps(fields, indent=1).encode()).hexdigest()
    return json.dumps(fields | {"sha256": signed}, indent=1).encode() + b"\n"


def row(**changes: Any) -> dict[str, Any]:
    return {"name": "a.json", "size": 1, "crc32": 1} | changes


def test_manifest_comes_back_as_it_was_with_versions_and_sorted_files() -> None:
    manifest = example()
    assert Manifest.parse(manifest.to_bytes(), "x") == manifest
    assert manifest.files == tuple(reversed(FILES))
    assert manifest.part_names == ["model", "trainer"]
    assert manifest.versions["torch"] == torch.__version__
    assert manifest.num_threads == torch.get_num_threads()


def test_signing_by_the_published_rule_is_accepted() -> None:
    assert Manifest.parse(resigned(), "x") == example()


def test_every_flipped_bit_is_noticed() -> None:
    data = example().to_bytes()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(CheckpointError, match="^file: "):
            Manifest.parse(bytes(damaged), "file")


def test_every_truncation_is_noticed() -> None:
    data = example().to_bytes()
    for length in range(len(data)):
        with pytest.raises(CheckpointError, match="^file: "):
            Manifest.parse(data[:length], "file")


@pytest.mark.parametrize(
    "changes",
    [
        {"num_updates": True},
        {"num_updates": -1},
        {"num_updates": 10**10},
        {"world_size": 0},
        {"about": []},
        {"versions": None},
        {"unknown": 1},
        {"files": {}},
        {"files": [[]]},
        {"files": [row(more=1)]},
        {"files": [row(size=-1)]},
        {"files": [row(size=1.0)]},
        {"files": [row(crc32=2**32)]},
        {"files": [row(), row()]},
        {"files": [row(name="b.json"), row()]},
        {"files": [row(name="a.safetensors")]},
        {"files": [row(name=1)]},
        *(
            {"files": [row(name=name)]}
            for name in (
                "../a.json", "/etc/passwd", "a/b.json", "a.pt", ".json", "A.json", "a.json\n",
                "manifest.json", "a\0.json", "-a.json", "a.json.json", "x" * 70 + ".json", "ä.json",
            )
        ),
    ],
    ids=str,
)  # fmt: skip
def test_signed_manifest_with_impossible_content_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="^file: "):
        Manifest.parse(resigned(**changes), "file")


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 0, "1", True, None])
def test_other_format_version_names_both_versions_of_seqtrain(version: object) -> None:
    data = resigned(format_version=version, versions={"seqtrain": "9.8"}, new_key=1)
    with pytest.raises(CheckpointError, match=r"'9\.8'.*" + seqtrain.__version__):
        Manifest.parse(data, "file")


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"null", b"\x80\x04pickle"])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(CheckpointError, match="^file: "):
        Manifest.parse(data, "file")


def test_about_that_is_not_plain_is_refused_before_anything_is_committed() -> None:
    with pytest.raises(CheckpointError, match="cannot be written as JSON"):
        example({"weights": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="cannot be written as JSON"):
        example({"loss": float("nan")})
