"""What Slurm and submitit say of a process, in the variables that torchrun sets."""

import re
import zlib
from collections.abc import Mapping

_PORTS = range(20_000, 32_000)
"""Below those that systems give out by themselves."""


def cluster_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns RANK, WORLD_SIZE and so on of a task that `srun` or submitit has started.

    Nothing where there is one task only, and none where torchrun or this project has set RANK. The
    first machine of the step is the meeting place, at a port that the job's number gives;
    MASTER_ADDR and MASTER_PORT in the environment go before.
    """
    if "RANK" in environment or "WORLD_SIZE" in environment:
        return {}
    found = _of_slurm(environment) or _of_submitit(environment)
    if found.get("WORLD_SIZE", "") in ("", "0", "1"):
        return {}
    return found | {k: v for k, v in environment.items() if k in ("MASTER_ADDR", "MASTER_PORT")}


def first_host(nodes: str) -> str:
    """Returns the first name of a list as Slurm writes it: node003 of node[003-007,9],gpu1."""
    match = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", match[0]) if match else ""


def _of_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    # The variables of the step: those of the job are there in a batch script too, which is no task.
    if "SLURM_STEP_NUM_TASKS" not in environment or "SLURM_PROCID" not in environment:
        return {}
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    job = f"{environment.get('SLURM_JOB_ID', '')}.{environment.get('SLURM_STEP_ID', '')}"
    return {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": environment["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": environment.get("SLURM_LOCALID", "0"),
        "MASTER_ADDR": first_host(nodes) or "127.0.0.1",
        "MASTER_PORT": _port(job),
    }


def _of_submitit(environment: Mapping[str, str]) -> dict[str, str]:
    """Its executor `local` starts the tasks of a job on this machine."""
    if environment.get("SUBMITIT_EXECUTOR") != "local":
        return {}
    return {
        "RANK": environment.get("SUBMITIT_LOCAL_GLOBALID", "0"),
        "WORLD_SIZE": environment.get("SUBMITIT_LOCAL_NTASKS", "1"),
        "LOCAL_RANK": environment.get("SUBMITIT_LOCAL_LOCALID", "0"),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": _port(environment.get("SUBMITIT_LOCAL_JOB_ID", "")),
    }


def _port(job: str) -> str:
    return str(_PORTS[zlib.crc32(job.encode()) % len(_PORTS)])
