"""Copies the source of this Python's standard library into train, valid and test folders.

Run: python examples/language_modeling/prepare_python.py OUT

A file's split is drawn from the hash of its path below the library, so that it does not depend on
which other files there are: 90 % train, 5 % valid, 5 % test. Tests of the library are left out, and
so are files that are not plain UTF-8 text. The last line prints how far `xz -9e` compresses the
held-out files, one after the other: a model that predicts them better is the better compressor.
"""

import hashlib
import lzma
import sys
import sysconfig
from pathlib import Path

LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
SPLITS = ("train", "valid", "test")


def split_of(name: str) -> str:
    """Returns the split of a file, from its path below the library."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little") / 2**32
    return "train" if share < 0.9 else "valid" if share < 0.95 else "test"


def readable(path: Path) -> bytes | None:
    """Returns a file that ends with a line end, or None if it is no plain text."""
    content = path.read_bytes()
    if not content or b"\r" in content or b"\0" in content:
        return None
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return content if content.endswith(b"\n") else content + b"\n"


def main() -> None:
    """Writes OUT/SPLIT/*.py and prints what there is."""
    out, library = Path(sys.argv[1]), Path(sysconfig.get_paths()["stdlib"])
    texts: dict[str, list[bytes]] = {split: [] for split in SPLITS}
    for path in sorted(library.rglob("*.py")):
        name = path.relative_to(library)
        content = None if LEFT_OUT & set(name.parts) else readable(path)
        if content is None:
            continue
        split = split_of(name.as_posix())
        target = out / split / "__".join(name.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        texts[split].append(content)
    print(f"Python {sys.version.split()[0]}: {library}")
    for split, contents in texts.items():
        whole = b"".join(contents)
        digest = hashlib.sha256(whole).hexdigest()[:16]
        print(f"{split}: {len(contents)} files, {len(whole)} bytes, sha256 {digest}")
    for split in ("valid", "test"):
        whole = b"".join(texts[split])
        packed = lzma.compress(whole, preset=9 | lzma.PRESET_EXTREME)
        print(f"xz -9e of {split}: {8 * len(packed) / len(whole):.4f} bits per byte")


if __name__ == "__main__":
    main()
