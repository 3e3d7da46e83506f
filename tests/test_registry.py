"""Registries: duplicates, wrong bases, unknown names and fields."""

from dataclasses import dataclass

import pytest
from hydra.core.config_store import ConfigStore

from seqtrain.errors import ConfigError, UnknownNameError
from seqtrain.registry import ComponentConfig, Registry, origin_of, registries


class Animal:
    pass


@dataclass(kw_only=True)
class DogConfig(ComponentConfig):
    """A dog."""

    legs: int = 4
    """Number of legs."""


@pytest.fixture
def animals() -> Registry[Animal]:
    registry = Registry("test_animal", Animal)

    @registry.register("dog", config=DogConfig)
    class Dog(Animal):
        pass

    return registry


def test_a_registered_class_is_found_with_its_config_and_place(animals: Registry[Animal]) -> None:
    entry = animals.get("dog")
    assert entry.cls.__name__ == "Dog"
    assert entry.config is DogConfig
    assert "test_registry.py:" in entry.origin


def test_a_registry_is_listed_by_its_kind(animals: Registry[Animal]) -> None:
    assert registries()["test_animal"] is animals


def test_registering_stores_the_typed_config_in_its_hydra_group(animals: Registry[Animal]) -> None:
    node = ConfigStore.instance().load("test_animal/dog.yaml")
    assert node.package == "test_animal"
    assert node.node == {"name": "dog", "legs": 4}


def test_a_kind_of_many_gives_each_component_its_own_sub_section() -> None:
    registry = Registry("test_flock", Animal, many=True)
    registry.register("dog", config=DogConfig)(type("Dog", (Animal,), {}))
    assert ConfigStore.instance().load("test_flock/dog.yaml").package == "test_flock.dog"


def test_a_second_class_of_the_same_name_is_refused_with_both_places(
    animals: Registry[Animal],
) -> None:
    class Wolf(Animal):
        pass

    with pytest.raises(ConfigError, match=r"test_animal 'dog'.*") as caught:
        animals.register("dog", config=DogConfig)(Wolf)
    assert animals.get("dog").origin in str(caught.value)
    assert origin_of(Wolf) in str(caught.value)


def test_a_class_with_another_base_is_refused(animals: Registry[Animal]) -> None:
    with pytest.raises(ConfigError, match="must derive from Animal"):
        animals.register("stone", config=DogConfig)(object)


@pytest.mark.parametrize("config", [dict, object(), type("NoDataclass", (), {})])
def test_a_config_that_is_no_component_config_is_refused(
    animals: Registry[Animal], config: type[ComponentConfig]
) -> None:
    with pytest.raises(ConfigError, match="derives from ComponentConfig"):
        animals.register("cat", config=config)(type("Cat", (Animal,), {}))


def test_a_refused_class_is_not_registered(animals: Registry[Animal]) -> None:
    with pytest.raises(ConfigError):
        animals.register("stone", config=DogConfig)(object)
    assert animals.names() == ["dog"]


def test_an_unknown_name_lists_the_choices_and_the_nearest(animals: Registry[Animal]) -> None:
    with pytest.raises(UnknownNameError, match=r"No test_animal named 'dgo'.*'dog'\?.*Known: dog"):
        animals.get("dgo")


def test_a_section_is_parsed_into_its_config(animals: Registry[Animal]) -> None:
    assert animals.parse({"name": "dog", "legs": 3}) == DogConfig(name="dog", legs=3)


def test_a_parsed_config_passes_through(animals: Registry[Animal]) -> None:
    config = DogConfig(name="dog")
    assert animals.parse(config) is config


@pytest.mark.parametrize("section", [{}, {"name": ""}, {"name": 3}])
def test_a_section_without_a_name_says_how_to_choose(
    animals: Registry[Animal], section: dict[str, object]
) -> None:
    with pytest.raises(ConfigError, match="test_animal=NAME with NAME one of dog"):
        animals.parse(section)


def test_an_unknown_field_names_the_key_and_the_nearest(animals: Registry[Animal]) -> None:
    with pytest.raises(ConfigError, match=r"'test_animal\.lgs'. Did you mean 'legs'"):
        animals.parse({"name": "dog", "lgs": 3})
