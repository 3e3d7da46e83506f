import gzip
from pathlib import Path

import numpy as np
import pytest

from seqtrain.data.series.source import read_series
from seqtrain.errors import DataError

TEXT = "date,a,b\n2016-07-01 00:00:00,1.5,\n2016-07-01 01:00:00,nan,-2\n"


def test_csv_gives_columns_times_and_missing_values(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(TEXT)
    table = read_series(path)
    assert table.columns == ["a", "b"]
    np.testing.assert_array_equal(table.values, [[1.5, np.nan], [np.nan, -2.0]])
    assert table.times is not None
    assert table.times.tolist() == [1467331200, 1467334800]


def test_csv_may_be_compressed_and_needs_no_dates(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n3,4\n"))
    table = read_series(path)
    assert table.times is None
    assert table.values.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_the_column_of_times_may_be_named_and_may_hold_seconds(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("a\tt\n1\t60\n2\t120\n")
    table = read_series(path, "t")
    assert table.columns == ["a"]
    assert table.times is not None
    assert table.times.tolist() == [60, 120]


def test_npy_and_parquet_hold_the_same_as_csv(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "x.csv").write_text(TEXT)
    from_csv = read_series(tmp_path / "x.csv")
    np.save(tmp_path / "x.npy", from_csv.values.astype(np.float32))
    times = np.array(["2016-07-01T00", "2016-07-01T01"], dtype="datetime64[s]")
    columns = {"date": pyarrow.array(times), "a": [1.5, None], "b": [None, -2]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    from_npy, from_parquet = (read_series(tmp_path / f"x.{end}") for end in ("npy", "parquet"))
    np.testing.assert_array_equal(from_npy.values, from_csv.values)
    assert from_npy.columns == ["0", "1"]
    np.testing.assert_array_equal(from_parquet.values, from_csv.values)
    assert from_parquet.columns == from_csv.columns
    np.testing.assert_array_equal(from_parquet.times, from_csv.times)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("date,a\n2016-07-01,x\n", "column a, row 2: 'x' is no number"),
        ("date,a\n2016-07-01,inf\n", "column a, row 2: the value is infinite"),
        ("date,a\n2016-07-01,1,2\n", "x.csv:2: 3 fields"),
        ("a,a\n1,2\n", "named twice"),
        ("date,a\nJuly,1\n", "'July' is no date"),
        ("date,a\n2016-07-02,1\n2016-07-01,2\n", "row 3: not later than the row before"),
        ("date,a\n", "holds no values"),
        ("date\n2016-07-02\n", "holds no values"),
    ],
)
def test_faults_of_a_file_are_named_with_their_place(
    tmp_path: Path, text: str, expected: str
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=expected):
        read_series(path)


def test_what_is_no_series_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 2, 2)))
    with pytest.raises(DataError, match=r"\[2, 2, 2\], expected is \[time, channels\]"):
        read_series(tmp_path / "x.npy")
    with pytest.raises(DataError, match="must end with .csv"):
        read_series(tmp_path / "x.txt")
    with pytest.raises(DataError, match="No such file"):
        read_series(tmp_path / "none.csv")
