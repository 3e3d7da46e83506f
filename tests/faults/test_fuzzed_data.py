"""Text and token stores with random damage: one line with the place, or the right content."""

import random
import re
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bounded_cases import Case, require_documented, run_cases
from toy_run import toy_config, write_toy_text

from seqtrain.data.token_store import HEADER, TokenStore, TokenStoreWriter
from seqtrain.errors import DataError
from seqtrain.plugins import load_plugins
from seqtrain.tasks.translation import TranslationConfig, TranslationTask

torch.set_num_threads(1)

BYTES = (
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\x00",
    b"\r",
    b"\r\n",
    b"\n",
    b"\n\n",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\xc2\x85",
    b"\x0c",
    b"\xf4\x90\x80\x80",
    b"\t",
    b" ",
    b"\\",
    b"\x1b[2J",
    b"a" * 1_200_000,
    "\U0001f600".encode(),
    b"\xcc\x81" * 50,
)
Mutation = Callable[[random.Random, bytes], bytes]


def insert(rng: random.Random, data: bytes) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.choice(BYTES) + data[place:]


def flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def remove(rng: random.Random, data: bytes) -> bytes:
    begin = rng.randrange(len(data))
    return data[:begin] + data[begin + rng.randint(1, 60) :]


def truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def shuffle_lines(rng: random.Random, data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    rng.shuffle(lines)
    return b"".join(lines[: rng.randint(1, len(lines))])


def noise(rng: random.Random, data: bytes) -> bytes:
    return rng.randbytes(rng.randrange(300))


def without_newlines(rng: random.Random, data: bytes) -> bytes:
    return data.replace(b"\n", rng.choice([b" ", b"\r", b"\x00", b""]))


def empty(rng: random.Random, data: bytes) -> bytes:
    return b""


MUTATIONS: tuple[Mutation, ...] = (
    insert, insert, insert, flip, flip, remove, truncate, shuffle_lines, noise, without_newlines,
    empty,
)  # fmt: skip


def text_cases(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """Yields cases, each on text with another damage to one file or two."""
    rng = random.Random(seed)
    text = folder / "text"
    files = sorted(text.iterdir())
    originals = {file: file.read_bytes() for file in files}
    config = translation_config(text, folder)
    for number in range(count):
        for file, content in originals.items():
            file.write_bytes(content)
        damaged = rng.sample(files, rng.choice([1, 1, 1, 2]))
        kinds = [rng.choice(MUTATIONS) for _ in damaged]
        for file, kind in zip(damaged, kinds, strict=True):
            file.write_bytes(kind(rng, originals[file]))
        name = f"{number}: {', '.join(f'{f.name} {k.__name__}' for f, k in zip(damaged, kinds))}"  # noqa: B905
        yield name, lambda number=number: read_or_prepare(config, folder / "out", number)


def read_or_prepare(config: TranslationConfig, out: Path, number: int) -> None:
    """Reads all splits as a run would, or writes a folder as seqtrain-preprocess would."""
    if number % 8:
        task = TranslationTask.load(config, seed=1)
        for split in task.splits():
            task.dataset(split)
        return
    try:
        TranslationTask.prepare(config, out, 1)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def translation_config(text: Path, run_dir: Path) -> TranslationConfig:
    section: dict[str, Any] = toy_config(text, run_dir)["task"]
    known = {field.name for field in fields(TranslationConfig)}
    return TranslationConfig(**{key: value for key, value in section.items() if key in known})


WHOLE_FILE = ("lines and", "the file is empty", "no pair has text", "is longer", "no line")
"""What is true of a file and not of a place in it."""


def check_text(folder: Path, count: int, seed: int) -> int:
    """Returns how many of so many cases were refused."""
    load_plugins([])
    write_toy_text(folder / "text", num_train=20, num_valid=5)
    outcomes = run_cases(text_cases(folder, count, seed))
    assert len(outcomes) == count
    require_documented(outcomes)
    refused = [outcome for outcome in outcomes if outcome.exit_code]
    for outcome in refused:
        assert outcome.exit_code == 3, outcome
        assert re.search(rf"{folder}/text/\w+\.[xy]", outcome.message), outcome
        has_place = re.search(r"\.[xy]:\d+: byte \d+: ", outcome.message)
        assert has_place or any(text in outcome.message for text in WHOLE_FILE), outcome
    return len(refused)


def test_300_damaged_texts_are_read_or_refused_with_file_line_and_byte(tmp_path: Path) -> None:
    assert check_text(tmp_path, 300, seed=1) > 100


@pytest.mark.slow
def test_2000_damaged_texts_are_read_or_refused_with_file_line_and_byte(tmp_path: Path) -> None:
    refused = check_text(tmp_path, 2000, seed=2)
    print(f"{refused} of 2000 refused")  # noqa: T201 # figures, with -s
    assert refused > 700


def damaged_header(rng: random.Random, index: bytes) -> bytes:
    """Changes a number of the header and signs it again."""
    values = list(HEADER.unpack_from(index))
    place = rng.randrange(1, len(values))
    odd = [0, 1, 2, 4, 8, 255, 2**16, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1]
    limit = 2**32 if HEADER.format.strip("<")[place + 1] == "I" else 2**64
    values[place] = rng.choice([number for number in odd if number < limit])
    header = HEADER.pack(*values)
    return header + struct.pack("<II", zlib.crc32(header), 0) + index[len(header) + 8 :]


def signed_again(index: bytes, tokens: bytes) -> bytes:
    """Makes all checksums right, as whoever made the file could."""
    values = list(HEADER.unpack_from(index))
    values[-2:] = [zlib.crc32(tokens), zlib.crc32(index[HEADER.size + 8 :])]
    header = HEADER.pack(*values)
    return header + struct.pack("<II", zlib.crc32(header), 0) + index[HEADER.size + 8 :]


def store_cases(prefix: Path, count: int, expected: list[list[int]]) -> Iterator[Case]:
    rng = random.Random(3)
    index_path, tokens_path = Path(f"{prefix}.index"), Path(f"{prefix}.tokens")
    index, tokens = index_path.read_bytes(), tokens_path.read_bytes()
    for number in range(count):
        kind = rng.choice([flip, truncate, remove, noise, empty, insert])
        signed = rng.random() < 0.5
        new_index, new_tokens = index, tokens
        if rng.random() < 0.2:
            new_index, signed = damaged_header(rng, index), True
        elif rng.random() < 0.5:
            new_index = kind(rng, index)
        else:
            new_tokens = kind(rng, tokens)
        if signed and len(new_index) > HEADER.size + 8:
            new_index = signed_again(new_index, new_tokens)
        index_path.write_bytes(new_index)
        tokens_path.write_bytes(new_tokens)

        def use(signed: bool = signed) -> None:
            store = TokenStore(prefix)
            store.verify()
            everything = np.arange(len(store))
            flat, lengths = store.gather(everything)
            assert flat.max(initial=0) < store.vocab_size
            assert (store.lengths_at(everything) == lengths).all()
            store.read(store.begins_at(everything), lengths)
            if not signed:
                assert [ids.tolist() for ids in np.split(flat, np.cumsum(lengths)[:-1])] == expected

        yield f"{number}: {kind.__name__}, signed {signed}", use


def test_500_damaged_token_stores_never_give_other_content(tmp_path: Path) -> None:
    rng = random.Random(4)
    prefix = tmp_path / "train.x"
    expected = [[rng.randrange(300) for _ in range(rng.randint(1, 30))] for _ in range(40)]
    with TokenStoreWriter(prefix, 300) as writer:
        writer.append_many(expected)
    outcomes = run_cases(store_cases(prefix, 500, expected))
    assert len(outcomes) == 500
    require_documented(outcomes)
    refused = [outcome for outcome in outcomes if outcome.exit_code]
    assert len(refused) > 350
    for outcome in refused:
        assert outcome.exit_code == DataError.exit_code, outcome
        assert outcome.message.startswith((f"{prefix}.index", f"{prefix}.tokens")), outcome
