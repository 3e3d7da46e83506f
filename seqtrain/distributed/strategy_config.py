"""How the model and the optimizer's state lie on the processes of a run."""

from dataclasses import dataclass

from seqtrain.errors import ConfigError
from seqtrain.option_checks import require_choice, require_range

STRATEGIES = ("ddp", "fsdp")
OF_PLAIN_DDP = ("bucket_cap_mb", "static_graph", "compress_gradients", "shard_optimizer")
"""Settings that say how whole gradients and whole parameters are exchanged."""
OF_FSDP = ("reshard_after_forward", "gather_dtype", "cpu_offload")
"""Settings that say how divided parameters are gathered."""


@dataclass(kw_only=True)
class StrategyConfig:
    """The settings of DistributedConfig that say who holds what."""

    strategy: str = "ddp"
    """ddp: each process holds the whole model. fsdp: parameters, gradients and the optimizer's
    state are divided among the processes, and each layer's are gathered while it runs."""

    bucket_cap_mb: int = 25
    """With ddp: MiB of gradients that are sent together while the backward pass goes on."""

    static_graph: bool = False
    """With ddp: promise that each micro-batch uses the same parameters, which lets torch order its
    sends better."""

    compress_gradients: str = ""
    """With ddp: bf16 sends gradients in two bytes a value; they are added in float32. Empty: as
    they are."""

    shard_optimizer: bool = False
    """With ddp: each process keeps the optimizer's state of a part of the parameters only, updates
    these, and gets the others from the other processes (ZeRO-1). The same bits."""

    reshard_after_forward: bool = True
    """With fsdp: let a layer's gathered parameters go after its forward pass and gather them again
    for the backward pass; false: keep them, which takes more memory and sends less."""

    gather_dtype: str = "fp32"
    """With fsdp: fp32, or bf16 to gather the matrices of layers in two bytes a value; needs
    precision.dtype=bf16. Their gradients are added up in float32."""

    cpu_offload: bool = False
    """With fsdp on GPUs: keep parameters, gradients and the optimizer's state in the memory of the
    CPU while they are not used."""

    tensor_parallel: int = 1
    """Processes that share each layer's matrix products, and get the same micro-batches; it divides
    the number of processes. For models that say how: transformer, transformer_lm."""

    def __post_init__(self) -> None:
        require_choice("distributed.strategy", self.strategy, STRATEGIES)
        require_range("distributed.bucket_cap_mb", self.bucket_cap_mb, least=1)
        require_choice("distributed.compress_gradients", self.compress_gradients, ("", "bf16"))
        require_choice("distributed.gather_dtype", self.gather_dtype, ("fp32", "bf16"))
        require_range("distributed.tensor_parallel", self.tensor_parallel, least=1)
        self._refuse_idle_settings()

    @property
    def is_spread(self) -> bool:
        """Whether parameters lie on several processes, where there are several."""
        return self.strategy == "fsdp" or self.tensor_parallel > 1

    def words(self) -> list[str]:
        """Returns what is divided among processes besides the data, for people."""
        said = ["fsdp"] if self.strategy == "fsdp" else []
        if self.tensor_parallel > 1:
            said.append(f"layers shared by {self.tensor_parallel}")
        return said + ["optimizer's state divided"] * self.shard_optimizer

    def _refuse_idle_settings(self) -> None:
        """Refuses what the strategy would not read. A setting at its default says nothing."""
        set_here = {
            name
            for name in (*OF_PLAIN_DDP, *OF_FSDP)
            if getattr(self, name) != StrategyConfig.__dataclass_fields__[name].default
        }
        for name in OF_PLAIN_DDP:
            if name in set_here and self.is_spread:
                is_fsdp = self.strategy == "fsdp"
                other = "distributed.strategy=fsdp" if is_fsdp else "distributed.tensor_parallel"
                raise ConfigError(
                    f"distributed.{name} is a setting of plain strategy=ddp and has no meaning "
                    f"with {other}. Leave it out."
                )
        for name in OF_FSDP:
            if name in set_here and self.strategy != "fsdp":
                raise ConfigError(
                    f"distributed.{name} needs distributed.strategy=fsdp, got {self.strategy}."
                )
