"""The search of a task whose outputs are text."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from seqtrain.errors import ConfigError
from seqtrain.generation.base import GenerationConfig, Generator, Hypothesis
from seqtrain.generation.build import as_language_model, build_search
from seqtrain.models.base import AutoregressiveModel, Model, ModelContext
from seqtrain.tasks.minimum_risk import with_minimum_risk

_Model = TypeVar("_Model", bound=Model)


def build_text_search(
    models: Sequence[AutoregressiveModel],
    config: GenerationConfig,
    context: ModelContext,
    decode: Callable[[Hypothesis], str],
    language_model: Model | None,
) -> Generator:
    """Returns the search that the options ask for, minimum Bayes risk included.

    Args:
        models: One model, or several whose probabilities are averaged.
        config: Options of the search.
        context: Special symbols of the target.
        decode: Gives the text of an output.
        language_model: For generation.lm_weight.
    """
    language = as_language_model(language_model)
    return with_minimum_risk(
        config, decode, lambda options: build_search(models, options, context, language)
    )


def all_of(models: Sequence[Model], kind: type[_Model], refusal: str) -> list[_Model]:
    """Returns the models, all of one kind.

    Raises:
        ConfigError: One is of another kind; the text is `refusal`.
    """
    usable = [model for model in models if isinstance(model, kind)]
    if len(usable) != len(models):
        raise ConfigError(refusal)
    return usable
