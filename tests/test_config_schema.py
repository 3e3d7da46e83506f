"""Sections: unknown keys, wrong types, refused values, and help from docstrings."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtrain.config_schema import field_help, parse_section, unknown_key_message
from seqtrain.errors import ConfigError


@dataclass(kw_only=True)
class Inner:
    """A nested section."""

    heads: int = 8
    """Number of heads."""


@dataclass(kw_only=True)
class Section:
    """A section."""

    dim: int = 16
    """Width,
    in features."""
    rate: float = 0.5
    name: str = ""
    """Its name."""
    betas: list[float] = field(default_factory=lambda: [0.9, 0.98])
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ConfigError(f"model.dim must be at least 1, got {self.dim}.")


@dataclass(kw_only=True)
class Wider(Section):
    """With one more field."""

    extra: bool = False
    """Further."""


def test_missing_fields_have_their_defaults() -> None:
    assert parse_section(Section(), {}, "model") == Section()


def test_an_instance_gives_its_own_defaults() -> None:
    assert parse_section(Section(dim=3), {"rate": 1.0}, "model") == Section(dim=3, rate=1.0)


def test_nested_sections_become_their_dataclass() -> None:
    assert parse_section(Section(), {"inner": {"heads": 2}}, "model").inner == Inner(heads=2)


@given(
    dim=st.integers(1, 10**6), rate=st.floats(-1e6, 1e6), name=st.text("abc ${}=[],", max_size=5)
)
def test_every_plain_value_comes_back_as_it_was(dim: int, rate: float, name: str) -> None:
    if "${" in name:
        return
    values = {"dim": dim, "rate": rate, "name": name}
    parsed = parse_section(Section(), values, "model")
    assert (parsed.dim, parsed.rate, parsed.name) == (dim, rate, name)


def test_an_unknown_key_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'model\.dmi'. Did you mean 'dim'\? Known here: betas,"):
        parse_section(Section(), {"dmi": 3}, "model")


def test_an_unknown_nested_key_is_named_in_full() -> None:
    with pytest.raises(ConfigError, match=r"model\.inner\.hads"):
        parse_section(Section(), {"inner": {"hads": 3}}, "model")


def test_a_value_of_the_wrong_type_names_the_key_and_the_value() -> None:
    with pytest.raises(ConfigError, match=r"model\.dim: .*'wide'"):
        parse_section(Section(), {"dim": "wide"}, "model")


def test_a_value_that_the_dataclass_refuses_gives_its_own_words() -> None:
    with pytest.raises(ConfigError, match=r"^model\.dim must be at least 1, got 0\.$"):
        parse_section(Section(), {"dim": 0}, "model")


@pytest.mark.parametrize(
    "section",
    [{"name": "${oc.env:HOME}"}, {"inner": {"heads": "${x}"}}, {"betas": [0.1, "${x}"]}],
)
def test_an_interpolation_in_a_saved_config_is_refused(section: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="interpolations are not allowed"):
        parse_section(Section(), section, "model")


def test_a_list_of_values_is_a_plain_list_afterwards() -> None:
    assert type(parse_section(Section(), {"betas": [0.1, 0.2]}, "model").betas) is list


def test_a_message_without_a_near_key_only_lists_the_known() -> None:
    message = unknown_key_message("model.zzz", "zzz", ["dim", "rate"])
    assert message == "There is no key 'model.zzz'. Known here: dim, rate."


def test_help_is_the_docstring_below_each_field_bases_included() -> None:
    assert field_help(Wider) == {
        "dim": "Width,\nin features.",
        "name": "Its name.",
        "extra": "Further.",
    }


def test_a_class_made_at_run_time_has_no_help() -> None:
    assert field_help(type("Made", (Section,), {})) == field_help(Section)
