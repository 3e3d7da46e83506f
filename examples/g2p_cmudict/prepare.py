"""Writes the CMU pronouncing dictionary as parallel text: spelling and phonemes.

The dictionary lies as a plain text file inside the wheel of `pocketsphinx` (BSD licence), which is
found and read but never imported. Usage: python prepare.py OUT_FOLDER
"""

import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

DICTIONARY = "model/en-us/cmudict-en-us.dict"
TEST_BUCKETS = range(5)
VALID_BUCKETS = range(5, 6)
SEPARATOR = " / "


def dictionary_path() -> Path:
    """Returns where the dictionary lies."""
    spec = importlib.util.find_spec("pocketsphinx")  # looks it up without importing it
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / DICTIONARY).is_file():
            return path
    sys.exit("The dictionary is missing. Get it with: pip install --no-deps pocketsphinx")


def read_entries(path: Path) -> Iterator[tuple[str, str]]:
    """Yields (word, phonemes); `word(2)` is another pronunciation of `word`."""
    for line in path.read_text(encoding="utf-8").split("\n"):
        word, _, phonemes = line.strip().partition(" ")
        if word:
            yield re.sub(r"\(\d+\)$", "", word), " ".join(phonemes.split())


def split_of(word: str) -> str:
    """Returns the split of a word: the same on every machine, and for ever."""
    bucket = int(hashlib.sha256(word.encode()).hexdigest(), 16) % 100
    if bucket in TEST_BUCKETS:
        return "test"
    return "valid" if bucket in VALID_BUCKETS else "train"


def main(out: Path) -> None:
    """Writes train, valid and test."""
    pronunciations: dict[str, list[str]] = {}
    for word, phonemes in read_entries(dictionary_path()):
        known = pronunciations.setdefault(word, [])
        if phonemes not in known:
            known.append(phonemes)
    out.mkdir(parents=True, exist_ok=True)
    for split in ("train", "valid", "test"):
        words = [word for word in pronunciations if split_of(word) == split]
        pairs = [(word, phonemes) for word in words for phonemes in pronunciations[word]]
        if split != "train":  # one line a word; any of its pronunciations counts as right
            pairs = [(word, SEPARATOR.join(pronunciations[word])) for word in words]
        for side, texts in zip(("word", "phonemes"), zip(*pairs, strict=True), strict=True):
            (out / f"{split}.{side}").write_text("\n".join(texts) + "\n", encoding="utf-8")
        print(f"{split}: {len(words):,} words, {len(pairs):,} lines")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
