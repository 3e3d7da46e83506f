"""The one place where the options choose a kind of search."""

from collections.abc import Sequence

from seqtrain.generation.base import GenerationConfig, Generator
from seqtrain.generation.beam_search import BeamSearch
from seqtrain.generation.diverse_beam_search import DiverseBeamSearch
from seqtrain.generation.sampling import Sampling
from seqtrain.generation.search import SearchModels, SequenceGenerator
from seqtrain.generation.strategy import Strategy
from seqtrain.models.base import AutoregressiveModel, ModelContext


def build_search(
    models: Sequence[AutoregressiveModel],
    config: GenerationConfig,
    context: ModelContext,
    language_model: AutoregressiveModel | None = None,
) -> Generator:
    """Returns the search that the options ask for.

    Args:
        models: One model, or several whose probabilities are averaged.
        config: Options of the search.
        context: Special symbols of the target.
        language_model: For generation.lm_weight.
    """
    return SequenceGenerator(
        SearchModels(models, language_model), config, context, choose_strategy(config)
    )


def choose_strategy(config: GenerationConfig) -> Strategy:
    """Returns what chooses extensions of prefixes."""
    if config.sampling:
        return Sampling(config)
    if config.diverse_beam_groups > 1:
        groups, strength = config.diverse_beam_groups, config.diverse_beam_strength
        return DiverseBeamSearch(config.beam, groups, strength)
    return BeamSearch(config.beam)
