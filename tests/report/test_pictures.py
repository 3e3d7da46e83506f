from pathlib import Path

import pytest
from report_runs import write_run

from seqtrain.errors import MachineError
from seqtrain.report.pictures import write_pictures
from seqtrain.report.run_log import read_runs


def test_each_chart_becomes_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a_$x", "_b"):
        (tmp_path / name).mkdir()
        rows = "".join(
            f'{{"event": "train", "num_updates": {n}, "train_loss": {3 / n}, "gnorm": {9**-n}}}\n'
            for n in range(1, 9)
        )
        (tmp_path / name / "metrics.jsonl").write_text(rows)
    runs = read_runs([tmp_path / "a_$x", tmp_path / "_b"])
    written = write_pictures(runs, tmp_path / "png")
    assert [path.name for path in written] == ["loss.png", "gradient_norm.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "png").touch()
    runs = read_runs([write_run(tmp_path / "a")])
    with pytest.raises(MachineError, match="png=.*cannot be written"):
        write_pictures(runs, tmp_path / "png")
