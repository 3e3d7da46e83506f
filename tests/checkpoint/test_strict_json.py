import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtrain.checkpoint import strict_json
from seqtrain.errors import CheckpointError

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(plain)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    data = strict_json.dump(value, "x")
    assert strict_json.parse(data, "x") == value
    assert strict_json.dump(strict_json.parse(data, "x"), "x") == data


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"NaN",
        b"-Infinity",
        b"[1e999]",
        b'{"a": 1, "a": 2}',
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b"[" * 200_000,
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b"1" * 5000,
        b" " * (strict_json.MAX_BYTES + 1),
    ],
    ids=lambda text: text[:12].decode("latin1") or "empty",
)
def test_text_that_is_not_strict_json_is_refused_with_the_file_named(text: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"^some/file: "):
        strict_json.parse(text, "some/file")


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, {"a": b"bytes"}])
def test_values_that_json_cannot_say_are_refused(value: object) -> None:
    with pytest.raises(CheckpointError, match="cannot be written"):
        strict_json.dump(value, "x")


def test_a_text_that_could_not_be_read_is_not_written() -> None:
    with pytest.raises(CheckpointError, match="more than the"):
        strict_json.dump("x" * strict_json.MAX_BYTES, "x")
    deep = json.loads("[" * 65 + "]" * 65)
    with pytest.raises(CheckpointError, match="64 levels"):
        strict_json.dump(deep, "x")
