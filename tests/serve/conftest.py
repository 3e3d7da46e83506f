"""Models of three kinds, hardly trained."""

import pytest
from labelled_toy import recognition_config, write_toy_series
from toy_run import toy_config, write_toy_text
from toy_series import series_config, write_series_csv

from seqtrain.pipeline import Pipeline, load, train

SHORT = {"max_update": 2, "max_epoch": 0}


@pytest.fixture(scope="session")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp("translator")
    text = write_toy_text(folder / "text", num_train=12, num_valid=2)
    train(toy_config(text, folder / "run", optimization=SHORT, model={"max_positions": 32}))
    return load(folder / "run", device="cpu")


@pytest.fixture(scope="session")
def forecaster(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp("forecaster")
    write_series_csv(folder / "series.csv", num_rows=200)
    config = series_config(folder / "series.csv", folder / "run", optimization=SHORT)
    train(config)
    return load(folder / "run", device="cpu")


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp("classifier")
    data = write_toy_series(folder / "data", num_train=12, num_valid=3)
    train(recognition_config(data, folder / "run", optimization=SHORT))
    return load(folder / "run", device="cpu")
