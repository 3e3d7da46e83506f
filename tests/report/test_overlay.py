from pathlib import Path

import numpy as np
import pytest

from seqtrain.errors import ConfigError
from seqtrain.report.overlay import save_overlay

pytest.importorskip("matplotlib")
LABELS = np.array([0, 1, 1, -1])


def test_images_series_and_texts_become_pictures(tmp_path: Path) -> None:
    panels = {"truth": LABELS, "prediction": np.zeros(4, dtype=np.int64)}
    square = {title: labels.reshape(2, 2) for title, labels in panels.items()}
    save_overlay(tmp_path / "new" / "image.png", np.ones((2, 2, 1)), square, ["a", "b"])
    save_overlay(tmp_path / "new" / "series.png", np.ones((4, 3)), panels, ["a", "b"])
    save_overlay(tmp_path / "new" / "text.png", list("x$\n_"), panels, ["a", "b"])
    for name in ("image", "series", "text"):
        assert (tmp_path / "new" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_classes_of_another_shape_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'truth' have the shape \[4\], the example has \[3\]"):
        save_overlay(tmp_path / "a.png", np.ones((3, 1)), {"truth": LABELS}, ["a", "b"])
