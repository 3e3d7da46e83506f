import pytest
import torch

from seqtrain.distributed.context import DistributedConfig, DistributedContext, of_this_start
from seqtrain.errors import ConfigError, DistributedError

VARIABLES = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29500",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_without_variables_it_is_a_single_process(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("RANK")
    environment.delenv("WORLD_SIZE")
    context = DistributedContext.from_environment()
    assert context == DistributedContext(rank=0, world_size=1, local_rank=0)
    assert context.is_first


@pytest.mark.usefixtures("environment")
def test_torchruns_variables_are_read() -> None:
    context = DistributedContext.from_environment()
    assert context == DistributedContext(rank=5, world_size=8, local_rank=1)
    assert not context.is_first


@pytest.mark.parametrize("name", list(VARIABLES))
def test_a_missing_variable_is_named(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(name)
    with pytest.raises(DistributedError, match=f"environment variable {name} is missing"):
        DistributedContext.from_environment()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RANK", "8"),
        ("RANK", "-1"),
        ("RANK", "one"),
        ("RANK", "1.0"),
        ("WORLD_SIZE", "0"),
        ("LOCAL_RANK", "9"),
        ("MASTER_PORT", "0"),
        ("MASTER_PORT", "65536"),
    ],
)
def test_a_wrong_variable_is_named_with_its_value(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(DistributedError, match=f"{name} must be an integer.* got '{value}'"):
        DistributedContext.from_environment()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_processes", 0),
        ("backend", "mpi"),
        ("timeout_seconds", 0.0),
        ("timeout_seconds", float("nan")),
        ("timeout_seconds", float("inf")),
        ("bucket_cap_mb", 0),
    ],
)
def test_a_refused_setting_is_named(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"distributed.{field} must be .* got"):
        DistributedConfig(**{field: value})  # type: ignore[arg-type] # wrong on purpose


def test_alone_nothing_is_connected() -> None:
    with DistributedContext().connected(DistributedConfig(), torch.device("cpu")) as collectives:
        assert collectives.world_size == 1
        assert not torch.distributed.is_initialized()


def test_nccl_on_the_cpu_is_refused_with_the_way_out() -> None:
    context = DistributedContext(rank=0, world_size=2, local_rank=0)
    config = DistributedConfig(backend="nccl")
    with (
        pytest.raises(DistributedError, match="use distributed.backend=gloo"),
        context.connected(config, torch.device("cpu")),
    ):
        pass


def test_a_rank_that_finds_nobody_names_the_address(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MASTER_ADDR", "127.0.0.1")
    environment.setenv("MASTER_PORT", "9")
    context = DistributedContext(rank=1, world_size=2, local_rank=1)
    with (
        pytest.raises(DistributedError, match="Rank 1 of 2 cannot join .* at 127.0.0.1:9"),
        context.connected(DistributedConfig(timeout_seconds=0.5), torch.device("cpu")),
    ):
        pass


@pytest.mark.parametrize(("is_shared", "found"), [("True", b"new"), ("False", b"old")])
def test_a_store_that_torchrun_keeps_has_a_part_for_each_start(
    environment: pytest.MonkeyPatch, is_shared: str, found: bytes
) -> None:
    environment.setenv("TORCHELASTIC_USE_AGENT_STORE", is_shared)
    store = torch.distributed.HashStore()
    for count, value in (("0", "old"), ("1", "new")):
        environment.setenv("TORCHELASTIC_RESTART_COUNT", count)
        if count == "0" or is_shared == "True":
            of_this_start(store).set("key", value)
    # A torchrun that was started again on its machine counts from 0, with a store that is new.
    assert of_this_start(store).get("key") == found


def test_restarts_on_several_machines_with_a_shared_store_are_refused_with_the_way_out(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    environment.setenv("GROUP_WORLD_SIZE", "2")
    environment.setenv("TORCHELASTIC_MAX_RESTARTS", "0")
    store = torch.distributed.HashStore()
    of_this_start(store)
    environment.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    with pytest.raises(DistributedError, match="TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"):
        of_this_start(store)
    environment.setenv("TORCHELASTIC_USE_AGENT_STORE", "False")
    assert of_this_start(store) is store
