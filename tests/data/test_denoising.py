import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.config_schema import parse_section
from seqtrain.data.keyed_random import ExampleRandom
from seqtrain.data.noise.denoising import DenoisingConfig, Noise, permute_sentences
from seqtrain.data.noise.denoising_dataset import DenoisingDataset
from seqtrain.data.noise.masking import Rows
from seqtrain.data.noise.word_marks import WordMarks
from seqtrain.data.token_store import TokenStore
from seqtrain.data.vocabulary import SPECIALS
from seqtrain.errors import ConfigError

EOS, PADDING, MASK = 2, 1, 60
MARKS = WordMarks.of([*SPECIALS, *(f"\u2581{i}" if i % 2 else str(i) for i in range(4, MASK))])
NONE = {"infill": 0.0, "permute_sentences": False}


def rows_of(sequences: list[list[int]]) -> Rows:
    flat = np.array([token for ids in sequences for token in ids], dtype=np.int64)
    return Rows(flat, np.array([len(ids) for ids in sequences], dtype=np.int64))


def split(rows: Rows) -> list[list[int]]:
    parts = np.split(rows.flat, np.cumsum(rows.lengths)[:-1])
    return [part.tolist() for part in parts]


def corrupt(sequences: list[list[int]], config: DenoisingConfig, epoch: int = 1) -> list[list[int]]:
    random = ExampleRandom(4, epoch, np.arange(len(sequences)))
    return split(Noise(config, MASK, MARKS).corrupt(rows_of(sequences), random))


SENTENCES = st.lists(st.lists(st.integers(4, MASK - 1), max_size=6), min_size=1, max_size=5)
TEXTS = st.lists(
    SENTENCES.map(lambda each: [t for ids in each for t in [*ids, EOS]][:-1]),
    min_size=1,
    max_size=5,
)
CONFIGS = st.builds(
    DenoisingConfig,
    infill=st.floats(0, 1),
    poisson_lambda=st.floats(1, 5),
    mask=st.floats(0, 1),
    delete=st.floats(0, 1),
    whole_words=st.booleans(),
    permute_sentences=st.booleans(),
    rotate=st.floats(0, 1),
    span_corruption=st.booleans(),
    density=st.floats(0.05, 0.95),
    mean_span=st.floats(1, 5),
    num_sentinels=st.integers(1, 4),
)


@settings(deadline=None, max_examples=80)
@given(texts=TEXTS, config=CONFIGS, epoch=st.integers(1, 5))
def test_batches_are_no_longer_than_planned_hold_the_target_and_are_the_same_in_any_batch(
    texts: list[list[int]], config: DenoisingConfig, epoch: int
) -> None:
    store = TokenStore.from_sequences([[*text, EOS] for text in texts], MASK)
    dataset = DenoisingDataset(store, config, mask_index=MASK, seed=4, word_marks=MARKS)
    indices = np.arange(len(texts))
    batch = dataset.batch(indices, epoch)
    source, targets = batch.inputs["source_tokens"], batch.targets
    counts = [(source != PADDING).sum(dim=1), (targets != PADDING).sum(dim=1)]
    assert (torch.stack(counts, dim=1) <= torch.from_numpy(dataset.lengths)).all()
    assert (batch.num_targets, batch.num_tokens) == (counts[1].sum(), sum(map(sum, counts)))
    previous = batch.inputs["prev_output_tokens"]
    assert (previous[:, 0] == EOS).all()
    for place, text in enumerate(texts):
        width = int(counts[1][place])
        assert targets[place, width - 1] == EOS
        assert torch.equal(previous[place, 1:width], targets[place, : width - 1])
        if not config.span_corruption:
            assert targets[place, :width].tolist() == [*text, EOS]
        alone = dataset.batch(indices[place : place + 1], epoch)
        own = alone.inputs["source_tokens"][0]
        assert torch.equal(own, source[place, : len(own)])
        assert int(counts[0][place]) == len(own)


def test_without_noise_the_source_is_the_target() -> None:
    texts = [[4, 5, EOS, 6], [7], []]
    assert corrupt(texts, DenoisingConfig(**NONE)) == texts


def test_masking_replaces_and_deleting_removes_the_share_that_is_asked_for() -> None:
    texts = np.random.default_rng(0).integers(4, MASK, (50, 40)).tolist()
    masked = np.array(corrupt(texts, DenoisingConfig(**NONE, mask=0.25)))
    assert ((masked == MASK).sum(axis=1) == 10).all()
    assert (masked == np.array(texts))[masked != MASK].all()
    for text, rest in zip(texts, corrupt(texts, DenoisingConfig(**NONE, delete=0.25)), strict=True):
        assert len(rest) == 30
        remaining = iter(text)
        assert all(token in remaining for token in rest)  # in the same order


def test_infilling_puts_one_mask_for_each_span_of_poisson_length() -> None:
    texts = np.random.default_rng(0).integers(4, MASK, (500, 100)).tolist()
    noised = corrupt(texts, DenoisingConfig(permute_sentences=False))
    num_masks = [ids.count(MASK) for ids in noised]
    hidden = [100 - (len(ids) - masks) for ids, masks in zip(noised, num_masks, strict=True)]
    assert set(hidden) == {30}
    # Spans of 3 on average, the last one cut: between 30 / 3 and one more.
    assert 10.0 < np.mean(num_masks) < 11.0
    for text, ids in zip(texts, noised, strict=True):
        remaining = iter(text)
        assert all(token in remaining for token in ids if token != MASK)


def test_empty_spans_put_a_mask_between_symbols() -> None:
    texts = np.random.default_rng(0).integers(4, MASK, (300, 12)).tolist()
    noised = corrupt(
        texts, DenoisingConfig(infill=0.5, poisson_lambda=1.0, permute_sentences=False)
    )
    masks = [ids.count(MASK) for ids in noised]
    removed = [12 - (len(ids) - count) for ids, count in zip(noised, masks, strict=True)]
    assert all(count <= gone for count, gone in zip(masks, removed, strict=True))
    # Without empty spans a mask would always stand for a symbol that is missing there.
    assert any(
        [t for t in ids if t != MASK] != text and ids[0] == MASK and ids[1] == text[0]
        for ids, text in zip(noised, texts, strict=True)
    )


@settings(deadline=None, max_examples=60)
@given(texts=TEXTS, seed=st.integers(0, 9))
def test_sentences_change_places_as_a_whole(texts: list[list[int]], seed: int) -> None:
    random = ExampleRandom(seed, 1, np.arange(len(texts)))
    for before, after in zip(texts, split(permute_sentences(rows_of(texts), random)), strict=True):
        assert sorted(sentences(before)) == sorted(sentences(after))


def test_sentences_do_change_places() -> None:
    texts = [[4, EOS, 5, EOS, 6, EOS, 7]] * 50
    random = ExampleRandom(1, 1, np.arange(50))
    assert len({tuple(ids) for ids in split(permute_sentences(rows_of(texts), random))}) > 10


def sentences(text: list[int]) -> list[list[int]]:
    found: list[list[int]] = [[]]
    for token in text:
        if token == EOS:
            found.append([])
        else:
            found[-1].append(token)
    return found


def test_a_rotated_text_begins_in_its_midst() -> None:
    text = list(range(4, 14))
    rotations = {tuple(text[at:] + text[:at]) for at in range(10)}
    noised = {tuple(ids) for ids in corrupt([text] * 200, DenoisingConfig(**NONE, rotate=1.0))}
    assert noised == rotations
    assert corrupt([text], DenoisingConfig(**NONE, rotate=0.0)) == [text]


@settings(deadline=None, max_examples=100)
@given(
    texts=TEXTS,
    density=st.floats(0.05, 0.95),
    mean_span=st.floats(1, 5),
    num_sentinels=st.integers(1, 4),
)
def test_source_and_target_of_span_corruption_together_spell_the_text(
    texts: list[list[int]], density: float, mean_span: float, num_sentinels: int
) -> None:
    config = DenoisingConfig(
        span_corruption=True, density=density, mean_span=mean_span, num_sentinels=num_sentinels
    )
    random = ExampleRandom(4, 1, np.arange(len(texts)))
    source, target = Noise(config, MASK, None).replace_by_sentinels(rows_of(texts), random)
    for text, ids, told in zip(texts, split(source), split(target), strict=True):
        spans: dict[int, list[int]] = {}
        for token in told:
            if token > MASK:
                spans[token] = []
                last = spans[token]
            else:
                last.append(token)
        hidden = [token for token in ids if token > MASK]
        assert hidden == list(spans) == list(range(MASK + 1, MASK + 1 + len(hidden)))
        assert len(hidden) <= num_sentinels
        assert all(spans.values())
        # A span goes on behind an end of sentence, which stays in the source.
        symbols = [t for token in ids for t in spans.get(token, [token]) if t != EOS]
        assert symbols == [token for token in text if token != EOS]
        assert ids.count(EOS) == text.count(EOS)


def test_span_corruption_hides_the_density_in_spans_of_the_mean_length() -> None:
    texts = np.random.default_rng(0).integers(4, MASK, (20, 100)).tolist()
    random = ExampleRandom(4, 1, np.arange(20))
    noise = Noise(DenoisingConfig(span_corruption=True), MASK, None)
    source, target = noise.replace_by_sentinels(rows_of(texts), random)
    assert set(source.lengths.tolist()) == {100 - 15 + 5}
    assert set(target.lengths.tolist()) == {15 + 5}
    assert DenoisingConfig(span_corruption=True).num_extra_symbols == 101
    assert DenoisingConfig().num_extra_symbols == 1


def test_each_epoch_has_other_noise_and_settings_another_fingerprint() -> None:
    store = TokenStore.from_sequences([list(range(4, 40))], MASK)
    datasets = [
        DenoisingDataset(store, DenoisingConfig(infill=rate), mask_index=MASK, seed=1)
        for rate in (0.3, 0.3, 0.4)
    ]
    first, again, _ = (each.batch(np.array([0]), 1).inputs for each in datasets)
    assert torch.equal(first["source_tokens"], again["source_tokens"])
    assert datasets[0].fingerprint == datasets[1].fingerprint != datasets[2].fingerprint
    later = datasets[0].batch(np.array([0]), 2).inputs["source_tokens"]
    assert first["source_tokens"].tolist() != later.tolist()
    assert datasets[0].shortened([0, 9]).lengths.tolist() == [[9, 9]]
    assert datasets[0].shortened([0, 0]) is datasets[0]
    assert datasets[0].empty_batch().num_examples == 0


@pytest.mark.parametrize(
    "section",
    [
        {"infill": 1.5}, {"mask": -0.1}, {"delete": 2.0}, {"rotate": float("nan")},
        {"density": 0.0}, {"density": 1.0}, {"poisson_lambda": 0.5}, {"mean_span": 0.0},
        {"num_sentinels": 0},
    ],
)  # fmt: skip
def test_settings_that_cannot_be_name_their_key(section: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"noise.{next(iter(section))}"):
        parse_section(DenoisingConfig(), section, "task.noise")


def test_whole_words_need_a_vocabulary_that_marks_them() -> None:
    store = TokenStore.from_sequences([[4]], MASK)
    with pytest.raises(ConfigError, match="noise.whole_words"):
        DenoisingDataset(store, DenoisingConfig(whole_words=True), mask_index=MASK, seed=1)
