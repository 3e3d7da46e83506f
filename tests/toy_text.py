"""A small real run on plain text for tests of its tasks."""

import random
from pathlib import Path
from typing import Any

from toy_run import toy_config

LETTERS = "abcdef"


def write_toy_documents(folder: Path, num_train: int = 60, num_valid: int = 9) -> Path:
    """Writes train, valid and test text: lines that go round the alphabet; returns the folder."""
    rng = random.Random(5)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", num_train), ("valid", num_valid), ("test", num_valid)):
        documents = []
        for _ in range(count):
            rounds = [(rng.randrange(6), rng.randint(3, 14)) for _ in range(4)]
            lines = ["".join(LETTERS[(first + i) % 6] for i in range(n)) for first, n in rounds]
            documents.append("\n".join(lines) + "\n")
        (folder / f"{split}.txt").write_text("\n".join(documents))
    return folder


def toy_text_config(
    text: Path, run_dir: Path, name: str, model: dict[str, Any], **sections: Any
) -> dict[str, Any]:
    """Returns a run config on raw text of characters; sections are merged into the defaults."""
    own: dict[str, Any] = {
        "name": name,
        "train": [str(text / "train.txt")],
        "valid": [str(text / "valid.txt")],
        "test": [str(text / "test.txt")],
        "tokenizer": "char",
        "tokens_per_sample": 24,
    }
    config = toy_config(text, run_dir)
    config |= {"task": own, "model": model, "criterion": {"name": "cross_entropy"}}
    config["dataset"] = {"max_tokens": 192}
    for section, values in sections.items():
        config[section] = config.get(section, {}) | values
    return config
