"""Which other settings go with parameters that lie on several processes."""

from seqtrain.errors import ConfigError
from seqtrain.training.run_config import RunConfig


def refuse_unfit_settings(config: RunConfig) -> None:
    """Refuses settings that do not go with parameters on several processes.

    Raises:
        ConfigError: Names them.
    """
    if not config.distributed.is_spread:
        return
    what = (
        "distributed.strategy=fsdp"
        if config.distributed.strategy == "fsdp"
        else "distributed.tensor_parallel"
    )
    if config.precision.parameters != "fp32":
        raise ConfigError(
            f"{what} needs precision.parameters=fp32: it divides float32 parameters. With fsdp, "
            "distributed.gather_dtype=bf16 has the layers compute on bfloat16 copies."
        )
    if config.distributed.gather_dtype == "bf16" and config.precision.dtype != "bf16":
        raise ConfigError(
            "distributed.gather_dtype=bf16 needs precision.dtype=bf16, "
            f"got {config.precision.dtype}."
        )
    if config.optimization.grad_noise:
        raise ConfigError(
            f"optimization.grad_noise is drawn for whole gradients, which {what} never has in one "
            "place. Leave one of them out."
        )
