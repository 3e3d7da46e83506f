"""Writes Python's own standard library as characters, each with the class of its token.

Every file of the running interpreter's standard library (without its tests) is one example. The
classes come from `tokenize`, so they are exact: name, keyword, number, operator, string, comment,
indent (white space that begins a line), space (any other) and newline. Usage:
python prepare_python.py OUT_FOLDER
"""

import hashlib
import json
import keyword
import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

TEST_BUCKETS = range(10)
VALID_BUCKETS = range(10, 15)
MOST_CHARACTERS = 150_000
LEFT_OUT = {"test", "tests", "site-packages", "dist-packages", "idle_test", "__pycache__"}
CLASSES = {
    tokenize.NUMBER: "number",
    tokenize.OP: "operator",
    tokenize.STRING: "string",
    tokenize.COMMENT: "comment",
}


def source_files() -> Iterator[tuple[str, Path]]:
    """Yields the name of each file within the library, and its path."""
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library).parts
        if not LEFT_OUT & set(parts):
            yield "/".join(parts), path


def labels_of(text: str) -> list[str]:
    """Returns the class of each character."""
    lines = text.splitlines(keepends=True)
    begins = [0, *accumulate(map(len, lines))]
    labels = [_default(character) for character in text]
    covered = [False] * len(text)
    text_begin = -1  # of an f-string, which newer interpreters give in parts
    for token in tokenize.generate_tokens(iter([*lines, ""]).__next__):
        begin = begins[token.start[0] - 1] + token.start[1]
        end = begins[token.end[0] - 1] + token.end[1] if token.end[0] <= len(lines) else len(text)
        kind = tokenize.tok_name[token.type]
        if kind == "FSTRING_START":
            text_begin = begin if text_begin < 0 else text_begin
        elif kind == "FSTRING_END":
            labels[text_begin:end] = ["string"] * (end - text_begin)
            covered[text_begin:end] = [True] * (end - text_begin)
            text_begin = -1
        elif token.type == tokenize.NAME or token.type in CLASSES:
            is_keyword = token.type == tokenize.NAME and keyword.iskeyword(token.string)
            name = "keyword" if is_keyword else CLASSES.get(token.type, "name")
            labels[begin:end] = [name] * (end - begin)
            covered[begin:end] = [True] * (end - begin)
    for begin, line in zip(begins, lines, strict=False):
        for place in range(begin, begin + len(line) - len(line.lstrip(" \t\f"))):
            if not covered[place]:
                labels[place] = "indent"
    return labels


def _default(character: str) -> str:
    if character == "\n":
        return "newline"
    return "space" if character.isspace() else "operator"


def split_of(name: str) -> str:
    """Returns the split of a file: by its name alone."""
    bucket = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100
    if bucket in TEST_BUCKETS:
        return "test"
    return "valid" if bucket in VALID_BUCKETS else "train"


def main(out: Path) -> None:
    """Writes train, valid and test as JSON lines."""
    out.mkdir(parents=True, exist_ok=True)
    counts = {split: [0, 0] for split in ("train", "valid", "test")}
    digest, num_left_out = hashlib.sha256(), 0
    files = {split: (out / f"{split}.jsonl").open("w", encoding="utf-8") for split in counts}
    for name, path in source_files():
        try:
            with tokenize.open(path) as file:
                text = file.read()
            labels = labels_of(text)
        except (SyntaxError, UnicodeDecodeError, tokenize.TokenError):
            num_left_out += 1
            continue
        if not 0 < len(text) <= MOST_CHARACTERS or text.splitlines() != text.split("\n")[:-1]:
            num_left_out += 1  # too long, or with rare line ends that tokenize counts otherwise
            continue
        split = split_of(name)
        files[split].write(json.dumps({"tokens": text, "labels": labels}) + "\n")
        counts[split] = [counts[split][0] + 1, counts[split][1] + len(text)]
        digest.update(text.encode())
    for split, (num_files, num_characters) in counts.items():
        files[split].close()
        print(f"{split}: {num_files:,} files, {num_characters:,} characters")
    version = sys.version.partition(" ")[0]
    print(f"Python {version}, {num_left_out} files left out, sha256 {digest.hexdigest()[:16]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
