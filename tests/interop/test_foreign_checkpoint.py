"""Pickles of strangers: nothing of them runs, whatever they say."""

import argparse
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from seqtrain.errors import CheckpointError
from seqtrain.interop.foreign_checkpoint import flatten, read_foreign


class Calls:
    """Pickled, it calls a function when it is read."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def save(path: Path, **values: Any) -> Path:
    torch.save({"model": OrderedDict(w=torch.arange(6.0).view(2, 3)), "args": None} | values, path)
    return path


def attacks(marker: Path) -> dict[str, Any]:
    touch = f"touch {marker}"
    code = f"open({str(marker)!r}, 'w')"
    return {
        "os.system": Calls(os.system, touch),
        "eval": Calls(eval, code),
        "exec": Calls(exec, code),
        "open": Calls(open, str(marker), "w"),
        "import": Calls(__import__, "antigravity"),
        "popen": Calls(__import__("subprocess").check_call, ["touch", str(marker)]),
        "getattr": Calls(getattr, Calls(__import__, "os"), "system"),
        "torch's own": Calls(torch.utils.collect_env.run, touch),
        "pathlib": Calls(Path.touch, marker),
        "numpy": Calls(__import__("numpy").fromfile, str(marker)),
    }


@pytest.mark.parametrize("name", list(attacks(Path())))
def test_a_malicious_pickle_leaves_no_trace(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "marker"
    path = tmp_path / "bad.pt"
    content = {"model": {"w": torch.ones(1)}, "cfg": {"task": attacks(marker)[name]}}
    # One in the old format, whose pickle is read by another way.
    torch.save(content, path, _use_new_zipfile_serialization=name != "os.system")
    with suppress(CheckpointError):
        read_foreign(path, is_trusted=True)
    assert not marker.exists()


def test_a_malicious_pickle_would_have_run_elsewhere(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    pickle.loads(pickle.dumps(attacks(marker)["os.system"]))
    assert marker.exists()


def test_names_of_foreign_code_are_refused_by_name(tmp_path: Path) -> None:
    path = save(tmp_path / "bad.pt", cfg=Calls(os.system, "true"))
    with pytest.raises(CheckpointError, match=r"names 'posix.system', which no checkpoint"):
        read_foreign(path, is_trusted=True)


def test_settings_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    nested: list[Any] = ["lol"]
    for _ in range(40):
        nested = [nested] * 10
    with pytest.raises(CheckpointError, match="nested too deep or too many"):
        read_foreign(save(tmp_path / "bomb.pt", cfg={"x": nested}), is_trusted=True)


def test_a_pickle_that_asks_for_the_whole_memory_ends_at_the_limit(tmp_path: Path) -> None:
    # A list that is to be remembered under the number 2**31 - 1: 32 GiB of memory for all numbers.
    (tmp_path / "bomb.pt").write_bytes(b"\x80\x02]r\xff\xff\xff\x7f.")
    with pytest.raises(CheckpointError, match="takes more memory than such a file needs"):
        read_foreign(tmp_path / "bomb.pt", is_trusted=True)


class TensorOf:
    """Pickled, it is a tensor with a view of one's own choice on a storage of four numbers."""

    def __init__(self, *view: Any) -> None:
        self.view = view

    def __reduce__(self) -> tuple[Any, ...]:
        storage = torch.arange(4.0)._typed_storage()
        arguments = (storage, *self.view, False, OrderedDict())
        return torch._utils._rebuild_tensor_v2, arguments


@pytest.mark.parametrize(
    "view", [(0, (5,), (1,)), (-1, (2,), (1,)), (2, (3,), (1,)), (0, (2**39, 2**39), (2**39, 1))]
)
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(
    tmp_path: Path, view: tuple[Any, ...]
) -> None:
    path = save(tmp_path / "bad.pt", model={"w": TensorOf(*view)})
    with pytest.raises(CheckpointError, match="'w' of its model reaches beyond its storage"):
        read_foreign(path, is_trusted=True)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64])
def test_tensors_are_read_as_they_were_saved(
    tmp_path: Path, is_zip: bool, dtype: torch.dtype
) -> None:
    base = torch.arange(24).to(dtype)
    tensors = {
        "whole": base.view(4, 6),
        "part": base[6:18].view(3, 4),
        "scalar": base[7],
        "empty": base[:0],
        "parameter": torch.nn.Parameter(base.clone(), requires_grad=False),
    }
    checkpoint = {"model": tensors, "args": argparse.Namespace(arch="x"), "other": base.clone()}
    torch.save(checkpoint, tmp_path / "m.pt", _use_new_zipfile_serialization=is_zip)
    found = read_foreign(tmp_path / "m.pt", is_trusted=True)
    for name, tensor in tensors.items():
        torch.testing.assert_close(found.tensors[name], tensor.detach(), rtol=0, atol=0)
    assert found.settings == {"arch": "x"}


def test_settings_of_every_kind_become_plain_values(tmp_path: Path) -> None:
    config = OmegaConf.create({"task": {"_name": "t", "data": "d"}, "lr": [0.1], "n": None})
    path = save(tmp_path / "m.pt", cfg=config, optimizer_history=[{"num_updates": 3}])
    found = read_foreign(path, is_trusted=True)
    assert found.settings == {"task._name": "t", "data": "d", "lr": [0.1], "n": None}
    assert found.num_updates == 3


def test_groups_of_settings_are_flattened() -> None:
    assert flatten({"a": 1, "task": {"_name": "t", "x": 2}, "model": "m"}) == {
        "a": 1,
        "task._name": "t",
        "x": 2,
        "model": "m",
    }
