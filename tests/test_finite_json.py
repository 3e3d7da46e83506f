import json

from seqtrain.finite_json import finite_json


def test_what_json_cannot_say_is_null_wherever_it_is() -> None:
    value = {"a": float("nan"), "b": [1.5, float("-inf"), (2, "nan")], "c": {"d": float("inf")}}
    text = finite_json(value)
    expected = {"a": None, "b": [1.5, None, [2, "nan"]], "c": {"d": None}}
    assert json.loads(text, parse_constant=lambda name: name) == expected
