"""Makes checkpoints as a stranger could: any content, with checksums that are right."""

import hashlib
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def resign(checkpoint: Path) -> None:
    """Makes sizes and checksums right again after a change, as an attacker can."""
    manifest = json.loads((checkpoint / "manifest.json").read_bytes())
    manifest["files"] = []
    for file in sorted(checkpoint.iterdir()):
        if file.name != "manifest.json":
            data = file.read_bytes()
            row = {"name": file.name, "size": len(data), "crc32": zlib.crc32(data)}
            manifest["files"].append(row)
    write_manifest(checkpoint, manifest)


def write_manifest(checkpoint: Path, fields: dict[str, Any]) -> None:
    """Writes a manifest with the checksum that fits it."""
    rest = {name: value for name, value in fields.items() if name != "sha256"}
    signed = hashlib.sha256(json.dumps(rest, indent=1).encode()).hexdigest()
    text = json.dumps(rest | {"sha256": signed}, indent=1).encode() + b"\n"
    (checkpoint / "manifest.json").write_bytes(text)


def with_json(file: Path, change: Callable[[Any], object]) -> None:
    """Changes the content of a JSON file in place."""
    tree = json.loads(file.read_bytes())
    change(tree)
    file.write_text(json.dumps(tree))
