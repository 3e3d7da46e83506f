import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from seqtrain.checkpoint import tensor_file
from seqtrain.errors import CheckpointError

DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32,
    torch.int64, torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64,
]  # fmt: skip


class Bytes:
    """A source in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, size: int) -> bytes:
        piece, self.data = self.data[:size], self.data[size:]
        assert len(piece) == size
        return piece

    def read_into(self, view: memoryview) -> None:
        view[:] = self.read(view.nbytes)

    def skip(self, size: int) -> None:
        self.read(size)


def to_bytes(tensors: dict[str, Tensor], aliases: dict[str, str] | None = None) -> bytes:
    plan = tensor_file.plan(tensors, aliases or {}, "part")
    data = b"".join(plan.chunks())
    assert len(data) == plan.size
    return data


def from_bytes(data: bytes) -> dict[str, Tensor]:
    return tensor_file.read(Bytes(data), len(data), "file")


def file_with(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def example() -> dict[str, Tensor]:
    torch.manual_seed(0)
    tensors = {str(dtype): (torch.randn(3, 5) * 9).abs().to(dtype) for dtype in DTYPES}
    tensors |= {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 7), "flag": torch.tensor(True)}
    tensors |= {"transposed": torch.randn(4, 3).t(), "expanded": torch.ones(1).expand(3, 2)}
    return tensors | {"conjugate": torch.randn(2, dtype=torch.complex64).conj(), "": torch.ones(1)}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        torch.testing.assert_close(right[name], tensor.resolve_conj(), rtol=0, atol=0)


def test_every_dtype_and_shape_comes_back_as_it_was() -> None:
    assert_same(example(), from_bytes(to_bytes(example())))


def test_the_safetensors_library_reads_our_files(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(to_bytes(example(), {"tied": "scalar"}))
    assert_same(example(), safetensors.torch.load_file(path))
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt", "aliases": '{"tied":"scalar"}'}


def test_we_read_files_of_the_safetensors_library() -> None:
    tensors = {name: tensor.resolve_conj().contiguous() for name, tensor in example().items()}
    assert_same(tensors, from_bytes(safetensors.torch.save(tensors)))


def test_equal_tensors_give_equal_bytes_whatever_their_order() -> None:
    tensors = example()
    backwards = dict(reversed(tensors.items()))
    assert to_bytes(tensors) == to_bytes(backwards)


def test_tensors_are_aligned_to_their_elements() -> None:
    data = to_bytes(example())
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            assert entry["data_offsets"][0] % example()[name].element_size() == 0


def test_contiguous_tensors_are_written_without_a_copy() -> None:
    weight = torch.nn.Parameter(torch.zeros(4))
    _, chunk = tensor_file.plan({"weight": weight}, {}, "part").chunks()
    with torch.no_grad():
        weight.fill_(1.0)
    assert bytes(chunk) == torch.ones(4).numpy().tobytes()


def test_read_tensors_share_no_memory() -> None:
    tensors = from_bytes(to_bytes({"a": torch.zeros(2), "b": torch.zeros(2)}))
    assert tensors["a"].untyped_storage().nbytes() == 8
    assert tensors["a"].is_leaf
    assert not tensors["a"].requires_grad


def test_dtype_without_a_name_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"'a' has the dtype torch\.complex128"):
        to_bytes({"a": torch.zeros(1, dtype=torch.complex128)})


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        (2**60).to_bytes(8, "little") + b"{}",
        (3).to_bytes(8, "little") + b"{}",
        file_with(b"\x80\x04\x95pickle"),
        file_with([]),
        file_with(b"[" * 100_000),
        file_with(b'{"a":{},"a":{}}'),
        file_with({}, b"\0"),
        file_with({"__metadata__": {"a": 1}}),
        file_with({"__metadata__": []}),
        file_with({"a": []}),
        file_with({"a": {}}),
        file_with({"a": entry() | {"more": 1}}, bytes(8)),
        file_with({"a": entry(dtype="F31")}, bytes(8)),
        file_with({"a": entry(dtype=["F32"])}, bytes(8)),
        file_with({"a": entry(shape=[3])}, bytes(8)),
        file_with({"a": entry(shape=[-2])}, bytes(8)),
        file_with({"a": entry(shape=[2.0])}, bytes(8)),
        file_with({"a": entry(shape=[2, True])}, bytes(8)),
        file_with({"a": entry(shape=2)}, bytes(8)),
        file_with({"a": entry(shape=[2**60], offsets=[0, 2**62])}, bytes(8)),
        file_with({"a": entry(shape=[0, 2**63], offsets=[0, 0])}),
        file_with({"a": entry(shape=[1] * 1000, offsets=[0, 4])}, bytes(4)),
        file_with({"a": entry(offsets=[0])}, bytes(8)),
        file_with({"a": entry(offsets=[8, 0])}, bytes(8)),
        file_with({"a": entry(offsets=[4, 12])}, bytes(12)),
        file_with({"a": entry(offsets=[-8, 0])}, bytes(8)),
        file_with({"a": entry(), "b": entry()}, bytes(8)),
        file_with({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)),
        file_with({"a": entry(), "b": entry(offsets=[12, 20])}, bytes(20)),
        file_with({"a": entry()}, bytes(7)),
        file_with({"a": entry()}, bytes(9)),
        file_with({"a": entry(dtype="BOOL", offsets=[0, 2])}, b"\1\2"),
    ],
)  # fmt: skip
def test_header_that_lies_is_refused_with_the_file_named(data: bytes) -> None:
    with pytest.raises(CheckpointError, match="^file: "):
        from_bytes(data)


def test_shapes_at_the_limits_that_torch_can_hold_are_read() -> None:
    shape = [0] + [1] * 63
    [tensor] = from_bytes(file_with({"a": entry(shape=shape, offsets=[0, 0])})).values()
    assert list(tensor.shape) == shape
