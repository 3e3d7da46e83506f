import gzip
import json
import lzma
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqtrain.data.array_file import ArrayFile
from seqtrain.data.prepare_options import PrepareOptions
from seqtrain.data.text.monolingual_data import TextData, load_raw_text
from seqtrain.data.text.monolingual_open import is_text_folder, open_text
from seqtrain.data.text.monolingual_preprocess import prepare_text
from seqtrain.data.text.monolingual_text import TextSettings
from seqtrain.data.tokenizers.byte import ByteTokenizerConfig
from seqtrain.data.tokenizers.char import CharTokenizerConfig
from seqtrain.data.tokenizers.word import WordTokenizerConfig
from seqtrain.errors import ConfigError, DataError

RAW = "a b\nc\n\n \nd e f\n\n"
WORDS = WordTokenizerConfig(name="word")


def settings(*paths: Path | str, **changes: Any) -> TextSettings:
    fields: dict[str, Any] = {"paths": {"train": list(paths)}, "tokenizer": WORDS}
    return TextSettings(**(fields | changes))


def documents_of(data: TextData, split: str = "train") -> list[list[str]]:
    store, documents = data.store(split), data.documents(split)
    lines = [data.side.decode(store[index]) for index in range(len(store))]
    if documents is None:
        return [[line] for line in lines]
    starts = documents.at(np.arange(len(documents))).tolist()
    return [lines[begin:end] for begin, end in pairwise(starts)]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "one.txt").write_text(RAW)
    (tmp_path / "two.txt").write_text("g\n")
    (tmp_path / "empty.txt").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ("blank", [["a b", "c"], ["d e f"], ["g"]]),
        ("line", [["a b"], ["c"], ["d e f"], ["g"]]),
        ("file", [["a b", "c", "", "", "d e f", ""], ["g"]]),
    ],
)
def test_documents_end_where_the_settings_say(
    raw: Path, documents: str, expected: list[list[str]]
) -> None:
    chosen = settings(raw / "*.txt", documents=documents)
    lines = prepare_text(chosen, raw / "out")
    prepared, loaded = open_text(raw / "out"), load_raw_text(chosen)
    for data in (prepared, loaded):
        assert documents_of(data) == expected
        assert data.counts["train"].num_documents == len(expected)
        assert data.lines() == lines[:-1]
    assert prepared.counts == loaded.counts
    assert prepared.store("train").fingerprint == loaded.store("train").fingerprint


def test_with_line_ends_as_eos_a_file_has_one_symbol_for_each_character(tmp_path: Path) -> None:
    text = "Zwei Häuser 🐎\n\nund ein ▁ Baum\n"
    (tmp_path / "x.txt").write_text(text, encoding="utf-8")
    for tokenizer, size in (
        (CharTokenizerConfig(name="char"), len(text)),
        (ByteTokenizerConfig(name="byte"), len(text.encode())),
    ):
        chosen = settings(tmp_path / "x.txt", documents="file", tokenizer=tokenizer)
        data = load_raw_text(chosen)
        store, counts = data.store("train"), data.counts["train"]
        assert store.num_tokens + len(store) == size
        assert "".join(data.side.decode(store[i]) + "\n" for i in range(len(store))) == text
        assert (counts.num_characters, counts.num_bytes) == (len(text), len(text.encode()))


def json_lines(folder: Path) -> Path:
    records = [{"body": {"text": text}} for text in ("a b\r\nc", "d e f", "g")]
    (folder / "x.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder / "x.jsonl"


def comma_separated(folder: Path) -> Path:
    text = 'body.text,n\r\n"a b\nc",1\r\nd e f,2\r\ng,3\r\n'
    (folder / "x.csv").write_bytes(text.encode())
    return folder / "x.csv"


def tab_separated(folder: Path) -> Path:
    (folder / "x.tsv").write_text("n\tbody.text\n1\ta b\n2\tc\n3\td e f\n4\tg\n")
    return folder / "x.tsv"


def parquet(folder: Path) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    from pyarrow import parquet as files

    column = [{"text": text} for text in ("a b\nc", "d e f", "g")]
    files.write_table(pyarrow.table({"body": column}), folder / "x.parquet")
    return folder / "x.parquet"


def compressed(suffix: str, compress: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / f"x.txt{suffix}"
        path.write_bytes(compress(b"a b\nc\n\nd e f\n\ng\n"))
        return path

    return write


def zstandard(folder: Path) -> Path:
    package = pytest.importorskip("zstandard", reason="the extra 'zstd' is not installed")
    return compressed(".zst", package.ZstdCompressor().compress)(folder)


@pytest.mark.parametrize(
    "write",
    [
        json_lines,
        comma_separated,
        tab_separated,
        parquet,
        compressed(".gz", gzip.compress),
        compressed(".xz", lzma.compress),
        zstandard,
    ],
)
@pytest.mark.parametrize("documents", ["blank", "line"])
def test_every_format_gives_the_same_text(
    tmp_path: Path, write: Callable[[Path], Path], documents: str
) -> None:
    path = write(tmp_path)
    data = load_raw_text(settings(path, documents=documents, field="body.text"))
    expected = [["a b"], ["c"], ["d e f"], ["g"]]
    if documents == "blank" and write is not tab_separated:
        expected = [["a b", "c"], ["d e f"], ["g"]]
    assert documents_of(data) == expected


def test_text_behind_a_url_is_read() -> None:
    fsspec = pytest.importorskip("fsspec", reason="the extra 'remote' is not installed")
    with fsspec.open("memory://mono/x.txt", "wb") as file:
        file.write(b"a b\n\nc\n")
    assert documents_of(load_raw_text(settings("memory://mono/x.txt"))) == [["a b"], ["c"]]


def test_several_folders_of_one_vocabulary_are_one_corpus(raw: Path) -> None:
    both = {"train": [raw / "one.txt"], "valid": [raw / "two.txt"]}
    prepare_text(settings(paths=both), raw / "first")
    side = open_text(raw / "first").side
    other = {"train": [raw / "two.txt"], "valid": [raw / "one.txt"]}
    prepare_text(settings(paths=other), raw / "second", side=side)
    data = open_text(f"{raw / 'first'}:{raw / 'second'}")
    assert is_text_folder(f"{raw / 'first'}:{raw / 'second'}")
    assert documents_of(data) == [["a b", "c"], ["d e f"], ["<unk>"]]
    assert documents_of(data, "valid") == [["<unk>"]]
    assert data.counts["train"].num_lines == 4
    assert data.counts["train"].num_bytes == len("a b\nc\nd e f\ng\n")
    documents = data.documents("train")
    assert isinstance(documents, ArrayFile)


def test_folders_of_different_vocabularies_are_refused(raw: Path) -> None:
    for name in ("one", "two"):
        prepare_text(settings(raw / f"{name}.txt"), raw / name)
    with pytest.raises(DataError, match="different vocabularies"):
        open_text(f"{raw / 'one'}:{raw / 'two'}")


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("card.json", b"{", "not JSON"),
        ("dict.txt", b"a 2\n", "fingerprint"),
        ("train.tokens", b"\4\5\6\7\7\7", "checksum"),
        ("train.documents", np.array([0, 9], dtype="<i8").tobytes(), "span 0 to 9, not 0 to 3"),
        ("train.documents", np.array([0, 1, 3], dtype="<i8").tobytes(), "fingerprint"),
        ("train.documents", b"1234567", "not whole numbers"),
        ("train.documents", b"", "span"),
    ],
)
def test_a_damaged_folder_of_text_is_refused_by_file(
    raw: Path, name: str, content: bytes, what: str
) -> None:
    prepare_text(settings(raw / "one.txt"), raw / "out")
    (raw / "out" / name).write_bytes(content)
    with pytest.raises(DataError, match=what) as caught:
        open_text(raw / "out")
    assert name in str(caught.value)
    if name != "card.json":
        prepare_text(settings(raw / "one.txt"), raw / "out")
        assert len(open_text(raw / "out").store("train")) == 3


def test_text_does_not_take_the_place_of_something_else(raw: Path) -> None:
    with pytest.raises(ConfigError, match="did not write for text"):
        prepare_text(settings(raw / "one.txt"), raw, PrepareOptions(overwrite=True))
    assert (raw / "one.txt").read_text() == RAW


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"documents": "page"}, "task.documents must be blank, line or file, got 'page'"),
        ({"paths": {"valid": ["x"]}}, "task.train"),
        ({"paths": {"train": ["x"], "a/b": ["y"]}}, "'a/b'"),
    ],
)
def test_settings_of_text_that_cannot_work_say_why(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        settings(**changes)


def test_a_pattern_without_files_and_text_without_lines_are_refused(raw: Path) -> None:
    with pytest.raises(DataError, match=r"\*\.md: no file"):
        load_raw_text(settings(raw / "*.md"))
    (raw / "blank.txt").write_text("\n \n")
    with pytest.raises(DataError, match="no line has text"):
        load_raw_text(settings(raw / "blank.txt"))
    with pytest.raises(DataError, match="'test'.*train"):
        load_raw_text(settings(raw / "one.txt")).store("test")


def test_tiny_shakespeare_keeps_every_character(tmp_path: Path) -> None:
    beside = Path(__file__).parents[3] / "shared" / "data"
    path = Path(os.environ.get("SEQTRAIN_REAL_DATA", beside)) / "tinyshakespeare" / "input.txt"
    if not path.is_file():
        pytest.skip("tinyshakespeare is not here: set SEQTRAIN_REAL_DATA to a folder that has it")
    characters = CharTokenizerConfig(name="char")
    prepare_text(settings(path, documents="file", tokenizer=characters), tmp_path / "out")
    data = open_text(tmp_path / "out")
    store = data.store("train")
    flat, lengths = store.gather(np.arange(len(store)))
    text = path.read_text()
    ends = np.cumsum(lengths)
    symbols = np.array(data.side.vocabulary.symbols)[flat]
    spelled = "".join("".join(line) + "\n" for line in np.split(symbols, ends[:-1]))
    assert spelled.replace("▁", " ") == text
    assert data.counts["train"].num_characters == len(text) == 1_115_394
