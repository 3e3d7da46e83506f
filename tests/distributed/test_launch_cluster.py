import os
from collections.abc import Iterator

import pytest

from seqtrain.distributed.cluster import cluster_variables, first_host
from seqtrain.distributed.context import DistributedConfig, DistributedContext
from seqtrain.distributed.launch import must_launch
from seqtrain.errors import DistributedError

TASK_OF_SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_ID": "0",
    "SLURM_NTASKS": "8",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[003-004]",
}
TASK_OF_SUBMITIT = {
    "SUBMITIT_EXECUTOR": "local",
    "SUBMITIT_LOCAL_JOB_ID": "12",
    "SUBMITIT_LOCAL_NTASKS": "2",
    "SUBMITIT_LOCAL_GLOBALID": "1",
    "SUBMITIT_LOCAL_LOCALID": "1",
}
NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """What the code adds to the environment goes again, too."""
    before = dict(os.environ)
    for name in [*NAMES, *(n for n in os.environ if n.startswith(("SLURM_", "SUBMITIT_")))]:
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu7", "gpu7"),
        ("a,b", "a"),
        ("gpu[003-007,9],x1", "gpu003"),
        ("gpu[9,003-007]", "gpu9"),
        ("rack[2-3]n[10-12].site,other", "rack2n10.site"),
        ("", ""),
    ],
)
def test_the_first_machine_of_a_list_is_found(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_a_task_of_srun_finds_its_place(environment: pytest.MonkeyPatch) -> None:
    for name, value in TASK_OF_SLURM.items():
        environment.setenv(name, value)
    assert DistributedContext.from_environment() == DistributedContext(5, 8, 1)
    assert os.environ["MASTER_ADDR"] == "gpu003"
    assert 20_000 <= int(os.environ["MASTER_PORT"]) < 32_000
    # A second look sees what the first one has said.
    assert DistributedContext.from_environment() == DistributedContext(5, 8, 1)


def test_all_tasks_of_a_step_meet_at_one_place_and_other_steps_elsewhere() -> None:
    def place(**other: str) -> tuple[str, str]:
        found = cluster_variables(TASK_OF_SLURM | other)
        return found["MASTER_ADDR"], found["MASTER_PORT"]

    assert place() == place(SLURM_PROCID="0", SLURM_LOCALID="0")
    assert len({place(), place(SLURM_STEP_ID="1"), place(SLURM_JOB_ID="78")}) == 3


def test_an_address_of_the_users_goes_before() -> None:
    found = cluster_variables(TASK_OF_SLURM | {"MASTER_ADDR": "here", "MASTER_PORT": "1234"})
    assert (found["MASTER_ADDR"], found["MASTER_PORT"]) == ("here", "1234")


@pytest.mark.parametrize(
    "variables",
    [
        {},
        TASK_OF_SLURM | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
        # A batch script, in which no srun has started anything.
        {k: v for k, v in TASK_OF_SLURM.items() if "STEP" not in k} | {"SLURM_PROCID": "0"},
        TASK_OF_SUBMITIT | {"SUBMITIT_LOCAL_NTASKS": "1", "SUBMITIT_LOCAL_GLOBALID": "0"},
        # torchrun, started by srun on each machine.
        TASK_OF_SLURM | {"RANK": "0", "WORLD_SIZE": "2"},
    ],
)
def test_nothing_is_said_where_a_process_is_alone_or_has_its_place(
    variables: dict[str, str],
) -> None:
    assert cluster_variables(variables) == {}


def test_a_local_task_of_submitit_finds_its_place(environment: pytest.MonkeyPatch) -> None:
    for name, value in TASK_OF_SUBMITIT.items():
        environment.setenv(name, value)
    context = DistributedContext.from_environment()
    assert context == DistributedContext(1, 2, 1)
    assert os.environ["MASTER_ADDR"] == "127.0.0.1"
    with pytest.raises(DistributedError, match=r"submitit starts .* hydra.launcher.tasks_per_node"):
        must_launch(DistributedConfig(num_processes=2), context)
