"""Diverse beam search: groups that avoid each other, and its limits."""

import pytest
import torch
from generation.search_cases import SOURCES, batch_of, build, search

from seqtrain.errors import ConfigError
from seqtrain.generation.base import GenerationConfig
from seqtrain.generation.diverse_beam_search import DiverseBeamSearch
from seqtrain.generation.prefixes import Prefixes


def prefixes_of(totals: torch.Tensor) -> Prefixes:
    """Prefixes of nothing but eos, with these totals, [1, beam]."""
    counts, rows = torch.ones(1, dtype=torch.int64), torch.zeros_like(totals, dtype=torch.int64)
    return Prefixes(
        tokens=rows[:, :, None],
        symbol_scores=totals[:, :, None],
        totals=totals,
        origins=rows,
        lengths=counts,
        given=counts,
        limits=counts,
        num_found=counts,
        owners=counts,
        ids=counts,
    )


def _first_symbols(strength: float) -> list[int]:
    options = {"beam": 2, "nbest": 2, "min_len": 3, "max_len_b": 3, "diverse_beam_groups": 2}
    batch = batch_of(SOURCES[:1], "source_tokens")
    found = search(build("transformer"), batch, diverse_beam_strength=strength, **options)
    return [one.tokens[0] for one in found[0]]


def test_a_strong_penalty_gives_every_group_a_beginning_of_its_own() -> None:
    assert len(set(_first_symbols(100.0))) == 2


def test_without_a_penalty_all_groups_find_the_same() -> None:
    assert len(set(_first_symbols(0.0))) == 1


def test_outputs_do_not_depend_on_the_batch() -> None:
    options = {"beam": 4, "nbest": 4, "max_len_b": 6, "diverse_beam_groups": 2}
    model = build("transformer")
    together = search(model, batch_of(SOURCES, "source_tokens"), **options)
    for row, found in zip(SOURCES, together, strict=True):
        alone = search(model, batch_of([row], "source_tokens"), **options)[0]
        assert [one.tokens for one in alone] == [one.tokens for one in found]


def test_groups_that_do_not_divide_the_beam_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"generation\.diverse_beam_groups must divide"):
        GenerationConfig(beam=5, diverse_beam_groups=2)


def test_a_group_pays_for_all_candidates_of_the_groups_before_it() -> None:
    """As in fairseq, where what ends or is left over counts too; here in plain lists."""
    generator = torch.Generator().manual_seed(3)
    beam, num_groups, strength = 6, 3, 0.7
    size = beam // num_groups
    scores = torch.randn(1, beam, 11, generator=generator).log_softmax(-1)
    totals = torch.randn(1, beam, generator=generator)
    search = DiverseBeamSearch(beam, num_groups, strength)
    found = search.extend(scores.clone(), prefixes_of(totals))
    counts = [0] * 11
    for group in range(num_groups):
        rows = range(group, beam, num_groups)
        candidates = sorted(
            (
                (
                    float(totals[0, row] + scores[0, row, symbol]) - strength * counts[symbol],
                    row,
                    symbol,
                )
                for row in rows
                for symbol in range(11)
            ),
            reverse=True,
        )[: 2 * size]
        for place, (total, row, symbol) in enumerate(candidates):
            at = place * num_groups + group
            assert found.symbols[0, at] == symbol
            assert found.origins[0, at] == row
            assert float(found.totals[0, at]) == pytest.approx(total, abs=1e-5)
        for _, _, symbol in candidates:
            counts[symbol] += 1
