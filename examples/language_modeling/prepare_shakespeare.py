"""Splits a text into its first 90 % and its last 10 % of characters.

Run: python examples/language_modeling/prepare_shakespeare.py INPUT.txt OUT
"""

import sys
from pathlib import Path


def main() -> None:
    """Writes OUT/train.txt and OUT/valid.txt."""
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    if not source.is_file():
        sys.exit(f"{source} does not exist: name the file of tinyshakespeare, input.txt.")
    text = source.read_text(encoding="utf-8")
    cut = int(0.9 * len(text))
    out.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", text[:cut]), ("valid", text[cut:])):
        (out / f"{name}.txt").write_text(part, encoding="utf-8")
        print(f"{name}: {len(part)} characters")


if __name__ == "__main__":
    main()
