import dataclasses
from typing import Any

import pytest

from seqtrain.config_schema import field_help
from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.context import DistributedConfig
from seqtrain.distributed.division import divide_by_size
from seqtrain.distributed.strategy_config import OF_FSDP, OF_PLAIN_DDP, StrategyConfig
from seqtrain.errors import ConfigError
from seqtrain.training.spread import data_rank


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"strategy": "slowmo"}, "distributed.strategy must be one of ddp, fsdp, got 'slowmo'"),
        ({"bucket_cap_mb": 0}, "distributed.bucket_cap_mb must be at least 1"),
        ({"compress_gradients": "fp16"}, "distributed.compress_gradients must be one of empty, bf"),
        ({"gather_dtype": "fp16", "strategy": "fsdp"}, "distributed.gather_dtype must be"),
        ({"gather_dtype": "bf16"}, "distributed.gather_dtype needs distributed.strategy=fsdp"),
        ({"cpu_offload": True}, "distributed.cpu_offload needs distributed.strategy=fsdp"),
        ({"reshard_after_forward": False}, "reshard_after_forward needs distributed.strategy=fsdp"),
        ({"tensor_parallel": 0}, "distributed.tensor_parallel must be at least 1"),
        (
            {"shard_optimizer": True, "strategy": "fsdp"},
            "distributed.shard_optimizer is a setting of plain strategy=ddp",
        ),
        (
            {"compress_gradients": "bf16", "tensor_parallel": 2},
            "has no meaning with distributed.tensor_parallel",
        ),
        (
            {"bucket_cap_mb": 50, "strategy": "fsdp"},
            "bucket_cap_mb is a setting of plain strategy=ddp and has no meaning with",
        ),
        ({"bucket_cap_mb": 50, "tensor_parallel": 2}, "no meaning with distributed.tensor_paral"),
        (
            {"static_graph": True, "strategy": "fsdp"},
            "has no meaning with distributed.strategy=fsdp",
        ),
        (
            {"deterministic_elastic": True, "strategy": "fsdp"},
            "distributed.deterministic_elastic=true adds gradients itself",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DistributedConfig(**fields)


def test_each_setting_that_belongs_to_one_strategy_is_known_as_such() -> None:
    fields = {field.name: field for field in dataclasses.fields(StrategyConfig)}
    assert fields.keys() - {*OF_PLAIN_DDP, *OF_FSDP} == {"strategy", "tensor_parallel"}
    for name in (*OF_PLAIN_DDP, *OF_FSDP):
        said = field_help(StrategyConfig)[name]
        assert said.startswith("With ddp:" if name in OF_PLAIN_DDP else "With fsdp"), name
        DistributedConfig(strategy="fsdp", **{name: fields[name].default})


def test_neighbours_that_share_layers_get_the_same_share_of_the_data() -> None:
    config = DistributedConfig(tensor_parallel=2)
    ranks = [data_rank(config, Collectives(rank, 6)) for rank in range(6)]
    assert [share.rank for share in ranks] == [0, 0, 1, 1, 2, 2]
    assert {share.world_size for share in ranks} == {3}
    with pytest.raises(ConfigError, match=r"tensor_parallel \(2\) must divide .* \(3\)"):
        data_rank(config, Collectives(0, 3))


def test_each_rank_takes_charge_of_about_as_much() -> None:
    sizes = [10, 1, 7, 3, 3, 12, 0, 4]
    owners = divide_by_size(sizes, 3)
    loads = [sum(s for s, owner in zip(sizes, owners, strict=True) if owner == r) for r in range(3)]
    assert sum(loads) == sum(sizes)
    assert max(loads) - min(loads) <= 4
    assert divide_by_size([5], 2) == [0]
