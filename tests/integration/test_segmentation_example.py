import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np

from seqtrain.data.labelled.data import load_raw_labelled
from seqtrain.data.labelled.settings import LabelledSettings
from seqtrain.data.tokenizers.char import CharTokenizerConfig

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "segmentation"


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_character_of_source_has_the_class_of_its_token() -> None:
    text = 'def f(x):\n  return  """a\n  b""" + 1.5  # c\n'
    labels = load_script("prepare_python").labels_of(text)
    runs = "".join(label[:3] + "|" for label in labels)
    assert len(labels) == len(text)
    keyword, name, operator, space = ["keyword"], ["name"], ["operator"], ["space"]
    assert labels == [
        *keyword * 3, *space, *name, *operator, *name, *operator * 2, "newline",
        *["indent"] * 2, *keyword * 6, *space * 2, *["string"] * 11, *space, *operator, *space,
        *["number"] * 3, *space * 2, *["comment"] * 3, "newline",
    ], runs  # fmt: skip


def test_words_lose_their_spaces_and_keep_their_begins() -> None:
    assert load_script("prepare_words").example("A dog  runs.\n") == ("Adogruns.", "BBIIBIIII")


def test_baselines_are_scored_by_the_code_that_scores_models(tmp_path: Path) -> None:
    files = {}
    for split, words in (("train", ["ab", "c"]), ("test", ["ab", "ab"])):
        row = {"tokens": "".join(words), "labels": "".join("B" + "I" * (len(w) - 1) for w in words)}
        files[split] = tmp_path / f"{split}.jsonl"
        files[split].write_text(json.dumps(row) + "\n")
    tokenizer = CharTokenizerConfig(name="char")
    data = load_raw_labelled(LabelledSettings(files=files, per_position=True, tokenizer=tokenizer))
    baselines = load_script("baselines")
    guesses = baselines.lookup(data, "test")
    assert np.concatenate(guesses).tolist() == [0, 1, 0, 1]
    found = baselines.score(data, "test", guesses, "bio")
    assert found["pixel_accuracy"] == found["boundary_f1"] == found["span_f1"] == 100.0
    most = baselines.score(data, "test", baselines.majority(data, "test"), "")
    assert most["pixel_accuracy"] == 50.0


def test_the_threshold_of_otsu_lies_between_two_heaps() -> None:
    heaps = np.concatenate([np.linspace(0, 1, 300), np.linspace(5, 6, 100)]).astype("f4")
    assert 1.0 <= load_script("baselines").otsu_threshold(heaps) <= 5.0
