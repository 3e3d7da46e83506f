"""Exported tokenizers give the ids that the model was trained on, and its text back."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from exported_models import denoising_model, translation_model

from seqtrain.data.side import Side
from seqtrain.data.tokenizers.base import (
    TOKENIZERS,
    Tokenizer,
    TokenizerConfig,
    register_tokenizer,
)
from seqtrain.data.vocabulary import EOS, Vocabulary
from seqtrain.interop.huggingface_tokenizer import (
    NoFaithfulFormError,
    tokenizer_json,
    write_tokenizers,
)

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")

TRAINED_ON = [
    "the cat sat on the mat",
    "größe ▁ and  two spaces",
    "a<b \t tab ,.!",
    "un@@ seen@@ ly @@ x |a|b| ▁c d@@",
    "日本 語",
] * 3
LINES = [*TRAINED_ON, "", " ", "the unseen кот", "cat▁▁cat", "ﬁ ½ é é", "x\u00a0y\u3000z", "🙂"]


def side_of(name: str, text: list[str] = TRAINED_ON, **options: Any) -> Side:
    config = TOKENIZERS.parse({"name": name, **options})
    tokenizer = TOKENIZERS.get(name).cls(config)
    tokenizer.train(iter(text))
    counts: dict[str, int] = dict.fromkeys(getattr(tokenizer, "alphabet", ()), 0)
    for line in text:
        for piece in tokenizer.encode(line):
            counts[piece] = counts.get(piece, 0) + 1
    return Side(tokenizer, Vocabulary.from_counts(counts))


def opened(side: Side, is_prompt: bool = False) -> Any:
    return tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(side, is_prompt)))


SIDES = [
    ("word", {}),
    ("char", {}),
    ("byte", {}),
    ("pieces", {}),
    ("pieces", {"join": "sentencepiece"}),
    ("pieces", {"join": "letter"}),
    ("pieces", {"join": "subword_nmt"}),
]


@pytest.mark.parametrize(("name", "options"), SIDES)
def test_a_tokenizer_json_gives_the_same_ids_and_the_same_text(
    name: str, options: dict[str, Any]
) -> None:
    side = side_of(name, **options)
    exported = opened(side)
    for line in LINES:
        ids = side.encode(line).tolist()
        assert exported.encode(line).ids == [*ids, EOS], line
        known = [i for i in ids if i > EOS + 1]  # the unknown symbol is a special one there
        assert exported.decode(known) == side.decode(known), line


def test_a_given_tokenizer_json_keeps_its_ids_only_if_the_model_knows_every_piece() -> None:
    words = ["ab", "ab ab", "abab", "a b", "b a"]
    side = side_of("huggingface", words, vocab_size=265, min_frequency=2)
    exported = opened(side)
    for line in [*words, "größe ab", "  ab"]:
        assert exported.encode(line).ids == [*side.encode(line).tolist(), EOS]
        assert exported.decode(side.encode(line).tolist()) == line
    few = Side(side.tokenizer, Vocabulary([(symbol, 1) for symbol in side.vocabulary.symbols[5:]]))
    with pytest.raises(NoFaithfulFormError, match="1 of its .* pieces"):
        tokenizer_json(few, is_prompt=False)


def test_a_language_models_tokenizer_begins_a_prompt_with_eos() -> None:
    side = side_of("char")
    assert opened(side, is_prompt=True).encode("cat").ids == [EOS, *side.encode("cat").tolist()]


@register_tokenizer("test_backwards", config=TokenizerConfig)
class Backwards(Tokenizer):
    """The letters from the last to the first."""

    def encode(self, text: str) -> list[str]:
        return list(text.replace(" ", "")[::-1])

    def decode(self, pieces: Sequence[str]) -> str:
        return "".join(pieces)[::-1]


def test_a_tokenizer_of_a_plugin_is_told_to_have_no_form_and_its_symbols_are_written(
    tmp_path: Path,
) -> None:
    pipeline = translation_model(tmp_path, task={"tokenizer": "test_backwards"})
    out = tmp_path / "out"
    out.mkdir()
    (note,) = write_tokenizers(pipeline.task, out, 0)
    assert note.startswith("no tokenizer for tokenizer=test_backwards: ")
    symbols = json.loads((out / "vocabulary.json").read_text())
    assert symbols == pipeline.task.vocabularies()["source"]
    assert not (out / "tokenizer.json").exists()


def test_sentencepiece_models_are_written_with_the_ids_of_their_pieces(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    options = {"tokenizer": "sentencepiece", "vocab_size": 20}
    for is_joined in (True, False):
        pipeline = translation_model(tmp_path, task=options | {"joined": is_joined})
        out = tmp_path / str(is_joined)
        out.mkdir()
        assert write_tokenizers(pipeline.task, out, 0) == []
        with pytest.warns(UserWarning, match="sacremoses"):
            exported = transformers.AutoTokenizer.from_pretrained(out)
        for line in ["a b c", "f e d c b a", "  a  b ", "unseen ä", ""]:
            source, target = pipeline.task.source, pipeline.task.target
            assert exported(line).input_ids == [*source.encode(line).tolist(), EOS]
            ids = target.encode(line).tolist()
            assert exported(text_target=line).input_ids == [*ids, EOS]
            known = [i for i in ids if i > EOS + 1]
            assert exported.decode(known) == target.decode(known)


@pytest.mark.parametrize("name", ["char", "sentencepiece"])
def test_masks_keep_their_ids_behind_the_vocabulary(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pipeline = denoising_model(tmp_path, name)
    write_tokenizers(pipeline.task, tmp_path, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about sacremoses
        exported = transformers.AutoTokenizer.from_pretrained(tmp_path)
    symbols = pipeline.task.vocabularies()["source"]
    ids = pipeline.task.side.encode("ab").tolist()
    assert exported("ab<mask>").input_ids == [*ids, symbols.index("<mask>"), EOS]
    assert exported.mask_token_id == len(pipeline.task.side.vocabulary)
