"""Writes a microscope image of cell nuclei with the class of each pixel.

The image (512 x 512) and its instances, drawn by people, lie as plain files inside the wheel of
`stardist` (BSD licence), which is read but never installed. Classes: background, interior, border
(pixels of a nucleus with another instance or the background within one pixel). The left half
trains, but for its lowest quarter, which validates; the right half tests. Usage:
python prepare_nuclei.py STARDIST_WHEEL OUT_FOLDER
"""

import hashlib
import sys
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

IMAGE, INSTANCES = "stardist/data/images/img2d.tif", "stardist/data/images/mask2d.tif"
SIZE, FIRST_BYTE = 512, 256
CLASSES = np.array(["background", "interior", "border"])


def pixels(wheel: zipfile.ZipFile, name: str) -> npt.NDArray[np.uint16]:
    """Returns an image: these TIFF files hold one uncompressed block after their header."""
    data = wheel.read(name)
    print(f"{name}: sha256 {hashlib.sha256(data).hexdigest()[:16]}")
    return np.frombuffer(data, "<u2", SIZE * SIZE, FIRST_BYTE).reshape(SIZE, SIZE)


def classes_of(instances: npt.NDArray[np.uint16]) -> npt.NDArray[np.str_]:
    """Returns the class of each pixel."""
    around = np.pad(instances, 1, mode="edge")
    is_border = np.zeros(instances.shape, dtype=bool)
    for down in range(3):
        for right in range(3):
            is_border |= around[down : down + SIZE, right : right + SIZE] != instances
    ids = np.where(instances == 0, 0, np.where(is_border, 2, 1))
    return CLASSES[ids]


def main(wheel: Path, out: Path) -> None:
    """Writes train, valid and test as npz."""
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        image, instances = pixels(archive, IMAGE), pixels(archive, INSTANCES)
    half, low = SIZE // 2, SIZE - SIZE // 4
    parts = {
        "train": (slice(low), slice(half)),
        "valid": (slice(low, SIZE), slice(half)),
        "test": (slice(SIZE), slice(half, SIZE)),
    }
    values, labels = np.log1p(image.astype(np.float32)), classes_of(instances)
    for split, part in parts.items():
        np.savez(
            out / f"{split}.npz", values=values[part][None, ..., None], labels=labels[part][None]
        )
        shares = [f"{name} {np.mean(labels[part] == name):.3f}" for name in CLASSES]
        print(f"{split}: {values[part].shape[0]} x {values[part].shape[1]}, {', '.join(shares)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
