"""Whether the components of a composed configuration were chosen in the way that types them."""

from collections.abc import Mapping

from omegaconf import DictConfig, OmegaConf

from seqtrain.errors import ConfigError
from seqtrain.registry import Registry, registries


def require_typed_choices(config: DictConfig, choices: Mapping[str, str | None]) -> None:
    """Refuses a component that is only named by a field, and a preset of no component.

    Hydra would compose both: the fields would be those of another component, or of none.

    Args:
        config: What was composed.
        choices: What was chosen, by kind, as Hydra tells it.

    Raises:
        ConfigError: Says how to choose.
    """
    for kind, registry in registries().items():
        if registry.many or kind not in config or OmegaConf.is_missing(config, kind):
            continue
        section = config[kind]
        if isinstance(section, DictConfig) and not section._is_none():
            _require_typed(registry, section, str(choices.get(kind)))


def _require_typed(registry: Registry[object], section: DictConfig, choice: str) -> None:
    kind, schema = registry.kind, OmegaConf.get_type(section)
    names = [name for name in registry.names() if registry.get(name).config is schema]
    if not names:
        raise ConfigError(
            f"{kind}={choice} is a preset of no component: its file begins with "
            f"`defaults: [NAME, _self_]`, where NAME is one of {', '.join(registry.names())}."
        )
    name = section.get("name")
    if name not in names:
        raise ConfigError(
            f"{kind}.name={name} does not choose a {kind}. Write {kind}={name}; in an experiment, "
            f"`- override /{kind}: {name}` below `defaults:`."
        )
