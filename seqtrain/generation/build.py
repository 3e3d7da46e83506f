"""The one place where the options choose a kind of search."""

from collections.abc import Sequence

from seqtrain.errors import ConfigError
from seqtrain.generation.alignment import AligningGenerator
from seqtrain.generation.base import GenerationConfig, Generator
from seqtrain.generation.beam_search import BeamSearch
from seqtrain.generation.constrained_beam_search import ConstrainedBeamSearch
from seqtrain.generation.contrastive_search import ContrastiveSearch
from seqtrain.generation.diverse_beam_search import DiverseBeamSearch
from seqtrain.generation.sampling import Sampling
from seqtrain.generation.search import SearchModels, SequenceGenerator
from seqtrain.generation.strategy import Strategy
from seqtrain.models.base import AutoregressiveModel, DecoderModel, Model, ModelContext


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
        language_model: For generation.lm_weight; at weight 0 it is not asked.
    """
    if not config.lm_weight:
        language_model = None
    found = _build(SearchModels(models, language_model), config, context)
    return AligningGenerator(found, models, config, context) if config.print_alignment else found


def _build(models: SearchModels, config: GenerationConfig, context: ModelContext) -> Generator:
    if config.contrastive_alpha:
        return ContrastiveSearch(models, config, context)
    return SequenceGenerator(models, config, context, choose_strategy(config, context))


def as_language_model(model: Model | None) -> DecoderModel | None:
    """Returns the model that generation.lm_weight adds, if there is one.

    Raises:
        ConfigError: It is not a language model.
    """
    if model is None or isinstance(model, DecoderModel):
        return model
    raise ConfigError(
        f"generation.lm_weight needs a language model, not a {type(model).__name__}: name a run "
        "of task=language_modeling."
    )


def choose_strategy(config: GenerationConfig, context: ModelContext) -> Strategy:
    """Returns what chooses extensions of prefixes."""
    if config.sampling:
        return Sampling(config)
    if config.diverse_beam_groups > 1:
        groups, strength = config.diverse_beam_groups, config.diverse_beam_strength
        return DiverseBeamSearch(config.beam, groups, strength)
    if config.constraints:
        return ConstrainedBeamSearch(config.beam, config.constraints == "ordered", context)
    return BeamSearch(config.beam)
