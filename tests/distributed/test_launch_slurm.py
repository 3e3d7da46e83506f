"""A sweep as a Slurm job, by stand-ins for sbatch, srun and sacct that run the job right here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy_command import overrides
from toy_run import final_state, toy_config, write_toy_text

pytest.importorskip("submitit", reason="the extra `slurm` is not installed")

TESTS = Path(__file__).parents[1]
SBATCH = """
import os, re, subprocess, sys
from pathlib import Path
script = Path(sys.argv[-1])
Path("sbatch.sh").write_text(script.read_text())
options = dict(re.findall(r"#SBATCH --([\\w-]+)=(\\S+)", script.read_text()))
tasks = int(options["ntasks-per-node"]) * int(options["nodes"])
found = {"SLURM_JOB_ID": "4242", "SLURM_NTASKS": str(tasks), "SLURM_PROCID": "0",
         "SLURM_NODEID": "0", "SLURM_JOB_NUM_NODES": options["nodes"], "SLURM_LOCALID": "0",
         "SLURM_JOB_NODELIST": "localhost"}
subprocess.Popen(["bash", script], env=os.environ | found, start_new_session=True,
                 stdout=open("sbatch.out", "w"), stderr=subprocess.STDOUT)
print("Submitted batch job 4242")
"""
SRUN = """
import os, subprocess, sys
command = sys.argv[sys.argv.index("-m") - 2:]
tasks = int(os.environ["SLURM_NTASKS"])
shared = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": str(tasks),
          "SLURM_STEP_NODELIST": os.environ["SLURM_JOB_NODELIST"]}
running = [subprocess.Popen(command, env=os.environ | shared | {"SLURM_PROCID": str(rank),
                                                                "SLURM_LOCALID": str(rank)})
           for rank in range(tasks)]
sys.exit(max(process.wait() for process in running))
"""
SACCT = """
print("JobID|State|NodeList\\n4242|RUNNING|localhost")
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The stand-ins come first on the path."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT)):
        (commands / name).write_text(f"#!{sys.executable}\n{text}")
        (commands / name).chmod(0o755)
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SUBMITIT_"))}
    return outside | {
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
        "OMP_NUM_THREADS": "1",
        "SEQTRAIN_DISABLE_PLUGINS": "1",
    }


def submit(tmp_path: Path, environment: dict[str, str], launcher: str, plugin: str) -> str:
    """Runs a sweep of one run with two processes; returns what it said."""
    text = write_toy_text(tmp_path / "text")
    limits = {"max_update": 2, "max_epoch": 0}
    config = toy_config(text, tmp_path / "run", optimization=limits)
    words = [
        *("--multirun", f"hydra/launcher={launcher}", "hydra.launcher.tasks_per_node=2"),
        f"hydra.launcher.submitit_folder={tmp_path}/jobs",
        *(f"plugins=[{plugin}]", *overrides(config)),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "seqtrain_cli.train", *words],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.stderr if done.returncode else ""


def test_a_sweep_runs_as_a_slurm_job_of_two_processes(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    assert submit(tmp_path, environment, "submitit_slurm", "toy_plugin") == ""
    script = (tmp_path / "sbatch.sh").read_text()
    for line in ("#SBATCH --nodes=1", "#SBATCH --ntasks-per-node=2", "#SBATCH --signal=USR2@120"):
        assert line in script
    assert "srun " in script
    assert "submitit.core._submit" in script
    assert final_state(tmp_path / "run" / "0")["trainer"]["num_updates"] == 2
    manifests = list((tmp_path / "run/0/checkpoints").glob("step-*/manifest.json"))
    assert [json.loads(path.read_text())["world_size"] for path in manifests] == [2]


@pytest.mark.slow
def test_a_sweep_runs_as_local_jobs_of_two_processes(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    assert submit(tmp_path, environment, "submitit_local", "toy_plugin") == ""
    manifests = list((tmp_path / "run/0/checkpoints").glob("step-*/manifest.json"))
    assert [json.loads(path.read_text())["world_size"] for path in manifests] == [2]


def test_a_plug_in_file_is_refused_where_tasks_could_not_import_it(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    plugin = str(TESTS / "toy_plugin.py")
    message = submit(tmp_path, environment, "submitit_slurm", plugin)
    assert f"hydra/launcher=submitit_slurm cannot send the plug-in {plugin} to its tasks" in message
