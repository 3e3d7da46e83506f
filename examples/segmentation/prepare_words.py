"""Writes sentences without their spaces; each character begins a word (B) or goes on (I).

Usage: python prepare_words.py TEXT_FOLDER OUT_FOLDER, with train.en, val.en and
test_2016_flickr.en of Multi30k in the text folder (any text, a sentence a line, does). Evaluation
sentences that are training sentences as well are left out.
"""

import json
import sys
from pathlib import Path

FILES = {"train": "train.en", "valid": "val.en", "test": "test_2016_flickr.en"}


def example(sentence: str) -> tuple[str, str]:
    """Returns the characters and their labels."""
    words = sentence.split()
    return "".join(words), "".join("B" + "I" * (len(word) - 1) for word in words)


def main(text: Path, out: Path) -> None:
    """Writes train, valid and test as JSON lines."""
    out.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    for split, name in FILES.items():
        lines = (text / name).read_text(encoding="utf-8").splitlines()
        pairs = [example(line) for line in lines if line.strip()]
        used = [pair for pair in pairs if split == "train" or pair[0] not in seen]
        seen |= {characters for characters, _ in pairs}
        with (out / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for characters, labels in used:
                file.write(json.dumps({"tokens": characters, "labels": labels}) + "\n")
        num_words = sum(labels.count("B") for _, labels in used)
        print(f"{split}: {len(used):,} of {len(pairs):,} sentences, {num_words:,} words")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
