import gzip
import json
import lzma
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqtrain.data.text.byte_streams import open_stream
from seqtrain.data.text.lines import count_lines, read_lines
from seqtrain.data.text.parallel_data import load_raw_parallel
from seqtrain.data.text.parallel_preprocess import open_prepared, prepare_parallel
from seqtrain.data.text.parallel_text import ParallelSettings
from seqtrain.data.text.records import read_records
from seqtrain.data.tokenizers.word import WordTokenizerConfig
from seqtrain.errors import DataError, MachineError

PAIRS = [("a small house", "ein kleines Haus"), ('say "a, b"', 'sag "a, b"'), ("ä 🐎", "")]


def plain(folder: Path) -> Path:
    for column, language in enumerate(("en", "de")):
        text = "".join(f"{pair[column]}\n" for pair in PAIRS)
        (folder / f"x.{language}").write_text(text, encoding="utf-8")
    return folder / "x"


def compressed(suffix: str, compress: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        prefix = plain(folder)
        for language in ("en", "de"):
            path = Path(f"{prefix}.{language}")
            Path(f"{path}{suffix}").write_bytes(compress(path.read_bytes()))
            path.unlink()
        return prefix

    return write


def json_lines(folder: Path) -> Path:
    lines = [json.dumps({"id": 1, "en": en, "de": de}) + "\n" for en, de in PAIRS]
    (folder / "x.jsonl").write_text("".join(lines))
    return folder / "x.jsonl"


def compressed_json_lines(folder: Path) -> Path:
    path = json_lines(folder)
    (folder / "x.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    return folder / "x.jsonl.gz"


def comma_separated(folder: Path) -> Path:
    quoted = [[text.replace('"', '""') for text in pair] for pair in PAIRS]
    rows = [f'"{en}",7,"{de}"\r\n' for en, de in quoted]
    (folder / "x.csv").write_text("en,n,de\r\n" + "".join(rows), encoding="utf-8", newline="")
    return folder / "x.csv"


def tab_separated(folder: Path) -> Path:
    text = "de\ten\n" + "".join(f"{de}\t{en}\n" for en, de in PAIRS)
    (folder / "x.tsv").write_text(text, encoding="utf-8")
    return folder / "x.tsv"


def parquet(folder: Path) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    from pyarrow import parquet as files

    table = pyarrow.table({"en": [en for en, _ in PAIRS], "de": [de for _, de in PAIRS]})
    files.write_table(table, folder / "x.parquet")
    return folder / "x.parquet"


def zstandard(folder: Path) -> Path:
    package = pytest.importorskip("zstandard", reason="the extra 'zstd' is not installed")
    return compressed(".zst", package.ZstdCompressor().compress)(folder)


def settings(prefix: Path | str, **changes: Any) -> ParallelSettings:
    words = WordTokenizerConfig(name="word")
    fields: dict[str, Any] = {
        "source": "en",
        "target": "de",
        "prefixes": {"train": prefix, "valid": prefix},
        "source_tokenizer": words,
        "target_tokenizer": words,
    }
    return ParallelSettings(**(fields | changes))


@pytest.mark.parametrize(
    "write",
    [
        compressed(".gz", gzip.compress),
        compressed(".xz", lzma.compress),
        zstandard,
        json_lines,
        compressed_json_lines,
        comma_separated,
        tab_separated,
        parquet,
    ],
)
def test_every_format_gives_the_data_of_plain_text(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    (tmp_path / "plain").mkdir()
    expected = load_raw_parallel(settings(plain(tmp_path / "plain")))
    chosen = settings(write(tmp_path))
    prepare_parallel(chosen, tmp_path / "out")
    for data in (load_raw_parallel(chosen), open_prepared(tmp_path / "out")):
        assert data.lines() == expected.lines()
        assert data.references("valid") == expected.references("valid") == [[de] for _, de in PAIRS]
        for split in ("train", "valid"):
            pairs = zip(data.stores(split), expected.stores(split), strict=True)
            assert all(one.fingerprint == other.fingerprint for one, other in pairs)


def test_fields_have_paths_and_columns_have_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"translation": {"en": "a", "de": "b"}}\n')
    assert list(read_records(path, ("translation.de", "translation.en"))) == [("b", "a")]
    path = tmp_path / "x.tsv"
    path.write_text('1\ta "b\n2\tc\n')
    assert list(read_records(path, ("2", "1"))) == [('a "b', "1"), ("c", "2")]
    chosen = settings(path, source_field="1", target_field="2")
    assert load_raw_parallel(chosen).counts["train"].num_pairs == 2


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("x.jsonl", '{"en": "a", "de": "b"}\n{"en": "a"\n', r"x\.jsonl:2: not JSON"),
        ("x.jsonl", '{"en": "a"}\n', r"x\.jsonl:1: no text in the field 'de'.*en"),
        ("x.jsonl", '{"en": 5, "de": "b"}\n', r"x\.jsonl:1: no text in the field 'en'"),
        ("x.jsonl", "[]\n", r"x\.jsonl:1: no text .*There are: list"),
        ("x.jsonl", '{"en": "a\\nb", "de": "b"}\n', r"x\.jsonl:1: a line end"),
        ("x.jsonl", "", r"x\.jsonl: the file is empty"),
        ("x.csv", "en,fr\na,b\n", r"x\.csv:1: no single field 'de'.*en, fr.*task\.source_field"),
        ("x.csv", 'en,de\na,"b\nc"\n', r"x\.csv:3: a line end"),
        ("x.csv", 'en,de\na,"b\n', r"x\.csv:2: unexpected end"),
        ("x.tsv", "en\tde\na\tb\nc\n", r"x\.tsv:3: 1 fields, field 2 is asked for"),
    ],
)
def test_a_bad_row_is_refused_with_file_and_line(
    tmp_path: Path, name: str, content: str, what: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=what):
        list(read_records(tmp_path / name, ("en", "de")))


def test_damaged_compression_is_one_clear_line(tmp_path: Path) -> None:
    for suffix, compress in ((".gz", gzip.compress), (".xz", lzma.compress)):
        path = tmp_path / f"x{suffix}"
        content = compress(b"line\n" * 1000)
        for damaged in (content[:-9], b"no" + content[2:], content[:20] + b"\xff" * 20):
            path.write_bytes(damaged)
            with pytest.raises(DataError, match=rf"x\{suffix}: the compressed data is damaged"):
                list(read_lines(path))


def test_files_behind_a_url_are_read() -> None:
    fsspec = pytest.importorskip("fsspec", reason="the extra 'remote' is not installed")
    system = fsspec.filesystem("memory")
    for column, language in enumerate(("en", "de")):
        text = "".join(f"{pair[column]}\n" for pair in PAIRS).encode()
        system.pipe(f"/text/x.{language}.gz", gzip.compress(text))
    assert count_lines("memory://text/x.en.gz") == 3
    data = load_raw_parallel(settings("memory://text/x"))
    assert data.references("valid") == [[de] for _, de in PAIRS]
    with pytest.raises(DataError, match=r"memory://text/y\.en: "):
        load_raw_parallel(settings("memory://text/y"))
    with pytest.raises(DataError, match="nowhere://x"):
        load_raw_parallel(settings("nowhere://x"))


def test_a_missing_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("zstandard", "pyarrow", "fsspec"):
        monkeypatch.setitem(sys.modules, package, None)
    for name in ("x.en.zst", "x.parquet"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(MachineError, match=r"seqtrain\[zstd\]"):
        list(read_lines(tmp_path / "x.en.zst"))
    with pytest.raises(MachineError, match=r"seqtrain\[parquet\]"):
        list(read_records(tmp_path / "x.parquet", ("en",)))
    with pytest.raises(MachineError, match=r"seqtrain\[remote\]"), open_stream("s3://x"):
        pass
