"""The only place where a foreign pickle is read: a script of its own, in a confined process.

`seqtrain.interop.foreign_checkpoint` starts it as `python -I -S foreign_pickle.py FILE OUT`. It
imports the standard library alone and lowers its own limits before it opens the file. The pickle
can name classes and functions, but gets none: every name stands for an inert `Record` that keeps
what it was called with. Names outside of a short list end the reading. What comes out is
`OUT/tensors.safetensors`, the tensors of "model", and `OUT/plain.json`, settings and counters.
Exit code 0: done; 3: refused, with one line on stderr.
"""

import json
import math
import mmap
import pickle
import resource
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

CPU_SECONDS = 120
MEMORY_BASE = 2**30
"""Address space beside four times the size of the file."""

ROOTS = ("torch", "fairseq", "argparse", "omegaconf", "numpy", "collections", "typing", "enum",
         "pathlib", "_codecs")  # fmt: skip
"""Packages whose names a fairseq checkpoint may hold; none of them is imported."""

BUILTINS = ("set", "frozenset", "dict", "list", "tuple", "int", "float", "bool", "str", "object",
            "bytearray", "complex", "slice",
            "long", "unicode", "bytes")  # fmt: skip

STORAGE_TYPES = {
    "FloatStorage": ("F32", 4),
    "DoubleStorage": ("F64", 8),
    "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2),
    "LongStorage": ("I64", 8),
    "IntStorage": ("I32", 4),
    "ShortStorage": ("I16", 2),
    "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1),
    "BoolStorage": ("BOOL", 1),
}
"""Storages of torch: the type's name in safetensors, and the bytes of one element."""

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
MAX_DEPTH = 60
MAX_PLAIN_VALUES = 200_000


class RefusedError(Exception):
    """The file is not what this reader takes; the message is for people."""


class Record(dict[Any, Any]):
    """Whatever the pickle wanted to make: keeps arguments, state and items, and does nothing."""

    name = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> "Record":
        """Takes any arguments."""
        made = super().__new__(cls)
        made.args = args
        made.state = None
        made.items_seen = []
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.args: tuple[Any, ...]
        self.state: Any
        self.items_seen: list[Any]

    def __hash__(self) -> int:  # type: ignore[override] # it may be the key of a dict
        return id(self)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, item: Any) -> None:
        """Called where the pickle fills a list."""
        self.items_seen.append(item)

    def extend(self, items: Any) -> None:
        """Called where the pickle fills a list."""
        self.items_seen.extend(items)


class ForeignUnpickler(pickle.Unpickler):
    """Gives a Record for each allowed name, refuses the others, and loads no storage."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8")
        self.made: dict[str, type[Record]] = {}

    def find_class(self, module: str, name: str) -> type[Record]:
        """Called for every class and function that the pickle names."""
        full = f"{module}.{name}"
        is_builtin = module in ("builtins", "__builtin__") and name in BUILTINS
        if not is_builtin and module.partition(".")[0] not in ROOTS:
            raise RefusedError(
                f"its pickle names {full[:80]!r}, which no checkpoint of fairseq itself holds; "
                "nothing of it was run"
            )
        if full not in self.made:
            self.made[full] = type("Record", (Record,), {"name": full})
        return self.made[full]

    def persistent_load(self, pid: Any) -> Any:
        """Called for every storage; its bytes are looked up later, if a tensor needs them."""
        return Storage(pid)


class Storage:
    """A storage that tensors refer to, not loaded."""

    def __init__(self, pid: Any) -> None:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            raise RefusedError("its pickle refers to something that is no storage of torch")
        kind = getattr(pid[1], "name", "").rpartition(".")[2]
        if kind not in STORAGE_TYPES:
            raise RefusedError(f"it holds a storage of the unknown kind {kind[:40]!r}")
        self.type_name, self.item_size = STORAGE_TYPES[kind]
        self.key, self.num_items = str(pid[2]), int(pid[4])
        # Old files have views on a storage: (key, offset, items).
        view = pid[5] if len(pid) > 5 else None
        self.offset = int(view[1]) if isinstance(view, tuple) else 0


def main(source: str, out: str) -> None:
    """Reads the file and writes what is in it."""
    lower_limits(Path(source).stat().st_size)
    with open(source, "rb") as file:  # noqa: PTH123 # pathlib would be no plainer here
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        is_zip = data[:4] == b"PK\x03\x04"
        tree, storage_bytes = read_zip(file, data) if is_zip else read_legacy(file, data)
    if not isinstance(tree, dict) or not isinstance(mapping_of(tree).get("model"), dict):
        raise RefusedError("it holds no dictionary with the key 'model', so it is no checkpoint")
    tree = mapping_of(tree)
    tensors = {}
    for name, value in mapping_of(tree["model"]).items():
        tensors[str(name)] = tensor_of(str(name), value, storage_bytes)
    write_safetensors(Path(out) / "tensors.safetensors", tensors)
    plain = {key: Plainer().plain(tree.get(key)) for key in ("args", "cfg", "optimizer_history")}
    (Path(out) / "plain.json").write_text(json.dumps(plain, allow_nan=False), encoding="utf-8")


def lower_limits(file_size: int) -> None:
    """Lowers what this process may use, once and for all."""
    memory = MEMORY_BASE + 4 * file_size
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 4 * file_size + 2**26),
        (resource.RLIMIT_NOFILE, 16),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        value = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (value, value))


def read_zip(file: BinaryIO, data: mmap.mmap) -> tuple[Any, Callable[[Storage], memoryview]]:
    """Reads the format of torch 1.6 and later: a zip file that is not compressed."""
    archive = zipfile.ZipFile(file)
    members = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise RefusedError("it is a zip file without one data.pkl, so it was not saved by torch")
    if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
        raise RefusedError("it is a compressed zip file, which torch does not write")
    prefix = pickles[0].removesuffix("data.pkl")
    order = f"{prefix}byteorder"
    if order in members and archive.read(order) != b"little":
        raise RefusedError("its tensors are in big-endian order")
    with archive.open(pickles[0]) as stream:
        tree = ForeignUnpickler(stream).load()  # type: ignore[arg-type] # reads like any file

    def storage_bytes(storage: Storage) -> memoryview:
        info = members.get(f"{prefix}data/{storage.key}")
        if info is None:
            raise RefusedError(f"the storage {storage.key[:40]!r} is missing")
        # The local header has name and extra field of its own lengths.
        header = data[info.header_offset : info.header_offset + 30]
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise RefusedError("its zip directory is damaged")
        name_size, extra_size = struct.unpack("<HH", header[26:30])
        begin = info.header_offset + 30 + name_size + extra_size
        return memoryview(data)[begin : begin + info.file_size]

    return tree, storage_bytes


def read_legacy(file: BinaryIO, data: mmap.mmap) -> tuple[Any, Callable[[Storage], memoryview]]:
    """Reads the format before torch 1.6: pickles one after the other, then the storages."""
    if ForeignUnpickler(file).load() != LEGACY_MAGIC:
        raise RefusedError("it was not saved by torch")
    ForeignUnpickler(file).load()  # version of the protocol
    ForeignUnpickler(file).load()  # sizes of C's types
    unpickler = ForeignUnpickler(file)
    tree = unpickler.load()
    keys = ForeignUnpickler(file).load()
    position, begins = file.tell(), {}
    sizes = {s.key: s.item_size for s in storages_in(tree)}
    for key in keys if isinstance(keys, list) else []:
        (num_items,) = struct.unpack("<q", data[position : position + 8])
        begins[str(key)] = (position + 8, num_items)
        # A storage that no tensor of ours uses has a size that we cannot know.
        if str(key) not in sizes:
            raise RefusedError(f"nothing refers to its storage {str(key)[:40]!r}")
        position += 8 + num_items * sizes[str(key)]

    def storage_bytes(storage: Storage) -> memoryview:
        begin, num_items = begins.get(storage.key, (0, -1))
        if num_items < 0:
            raise RefusedError(f"the storage {storage.key[:40]!r} is missing")
        return memoryview(data)[begin : begin + num_items * storage.item_size]

    return tree, storage_bytes


def storages_in(tree: Any) -> Iterator[Storage]:
    """Yields every storage that something in a tree refers to."""
    waiting, seen = [tree], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Storage):
            yield value
        elif isinstance(value, Record):
            waiting += [value.args, value.state, value.items_seen, *value.values()]
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value


def mapping_of(value: Any) -> dict[Any, Any]:
    """Returns the items of a dict, or of an OrderedDict in any form in which it is pickled."""
    if isinstance(value, Record) and value.args and isinstance(value.args[0], list):
        return {pair[0]: pair[1] for pair in value.args[0] if len(pair) == 2} | value
    return value if isinstance(value, dict) else {}


def tensor_of(
    name: str, value: Any, storage_bytes: Callable[[Storage], memoryview]
) -> tuple[str, list[int], memoryview]:
    """Returns type, shape and bytes of a tensor."""
    while isinstance(value, Record) and value.name == "torch._utils._rebuild_parameter":
        value = value.args[0] if value.args else None
    kinds = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
    if not isinstance(value, Record) or value.name not in kinds or len(value.args) < 4:
        raise RefusedError(f"{name[:80]!r} of its model is no plain tensor")
    storage, offset, shape, stride = value.args[:4]
    sizes_are_ints = all(
        isinstance(v, tuple) and all(type(n) is int and 0 <= n < 2**40 for n in v)
        for v in (shape, stride)
    )
    if not isinstance(storage, Storage) or type(offset) is not int or not sizes_are_ints:
        raise RefusedError(f"{name[:80]!r} of its model is no plain tensor")
    expected = [math.prod(shape[index + 1 :]) for index in range(len(shape))]
    is_row_major = all(
        size == 1 or step == wanted
        for size, step, wanted in zip(shape, stride, expected, strict=True)
    )
    if len(shape) != len(stride) or not is_row_major:
        raise RefusedError(f"{name[:80]!r} of its model does not lie row by row")
    begin = (storage.offset + offset) * storage.item_size
    end = begin + math.prod(shape) * storage.item_size
    data = storage_bytes(storage)
    if not 0 <= begin <= end <= len(data):
        raise RefusedError(f"{name[:80]!r} of its model reaches beyond its storage")
    return storage.type_name, list(shape), data[begin:end]


def write_safetensors(path: Path, tensors: dict[str, tuple[str, list[int], memoryview]]) -> None:
    """Writes tensors; a storage that two of them share is written twice."""
    header, position = {}, 0
    for name, (type_name, shape, data) in tensors.items():
        header[name] = {
            "dtype": type_name,
            "shape": shape,
            "data_offsets": [position, position + len(data)],
        }
        position += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for _, _, data in tensors.values():
            file.write(data)


class Plainer:
    """Turns settings into JSON values; what is none becomes its name in angle brackets."""

    def __init__(self) -> None:
        self.num_values = 0

    def plain(self, value: Any, depth: int = 0) -> Any:
        """Returns JSON values."""
        self.num_values += 1
        if depth > MAX_DEPTH or self.num_values > MAX_PLAIN_VALUES:
            raise RefusedError("its settings are nested too deep or too many")
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, int):
            return value if abs(value) < 2**63 else str(value)
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, Record):
            return self._of_record(value, depth)
        if isinstance(value, dict):
            return {str(key): self.plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(item, depth + 1) for item in value]
        return f"<{type(value).__name__}>"

    def _of_record(self, record: Record, depth: int) -> Any:
        state = record.state
        if isinstance(state, dict):
            # Containers of omegaconf keep their items in _content, its leaves a value in _val.
            for key in ("_content", "_val"):
                if key in state:
                    return self.plain(state[key], depth + 1)
            return {str(key): self.plain(item, depth + 1) for key, item in state.items()}
        items = mapping_of(record)
        if items:
            return {str(key): self.plain(item, depth + 1) for key, item in items.items()}
        if len(record.args) == 1 and isinstance(record.args[0], str | int | float):
            return self.plain(record.args[0], depth + 1)  # a member of an enum, by its value
        return f"<{record.name}>"


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except RefusedError as refusal:
        print(str(refusal), file=sys.stderr)  # noqa: T201 # the parent reads it
        sys.exit(3)
    except MemoryError:
        print("reading it takes more memory than such a file needs", file=sys.stderr)  # noqa: T201
        sys.exit(3)
    except Exception as fault:  # a damaged file can fail anywhere
        print(f"it is damaged ({type(fault).__name__}: {str(fault)[:200]})", file=sys.stderr)  # noqa: T201
        sys.exit(3)
