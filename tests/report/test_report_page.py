import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_runs import write_run

from seqtrain.errors import ConfigError, MachineError
from seqtrain.report.page import report_page, write_report
from seqtrain.report.panels import panels_of
from seqtrain.report.run_log import read_runs

EVIL = '</td><script>alert(1)</script><img src=x onerror=alert(1)>"\u202e\x07'


class _Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    handle_startendtag = handle_starttag


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page.partition("</style>")[2]).split())


@pytest.fixture
def page(tmp_path: Path) -> str:
    first = write_run(tmp_path / "first", seed=1, model={"dim": 8, "name": "m"})
    second = write_run(tmp_path / "second", level=2.0, seed=2, model={"dim": 16, "name": "m"})
    return report_page(read_runs([first, second]))


def test_the_page_needs_nothing_from_elsewhere_and_allows_nothing(page: str) -> None:
    elements = _Elements(page).found
    assert not {"script", "link", "img", "iframe", "object", "form"} & {tag for tag, _ in elements}
    for _, attributes in elements:
        assert not {"href", "src", "style", "srcset", "data", "action"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
    (policy,) = [
        attributes["content"] for tag, attributes in elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]  # fmt: skip
    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in style


def test_the_page_shows_curves_of_all_runs_and_what_differs(page: str) -> None:
    text = text_of(page)
    for title in ("Loss", "Perplexity", "BLEU", "Learning rate", "Gradient norm", "Throughput"):
        assert title in text
    assert "first valid" in text
    assert "second train" in text
    assert "model.dim 8 16" in text
    assert "seed 1 2" in text
    assert "model.name" not in text.partition("Options that differ")[2].partition("Outputs")[0]
    assert "seconds of training" in text


def test_the_page_shows_outputs_attention_and_forecasts(page: str) -> None:
    text = text_of(page)
    assert "20 said after 20" in text
    assert "40 said after 40" in text
    assert "cat (75 %)" in text
    assert "attention: rows are the output" in text
    assert "x from a: 0.90" in text
    assert "forecast after 20 updates" in text
    assert "rows from the first that is forecast" in text


def test_the_table_tells_the_best_value_and_the_test(tmp_path: Path) -> None:
    checkpoint = {"best_metric": "valid_bleu", "maximize_best_metric": True}
    page = report_page(read_runs([write_run(tmp_path / "a", checkpoint=checkpoint)]))
    assert "best valid_bleu test_loss a 40 0:20 400 (update 40) 1" in text_of(page)


def test_nothing_that_a_run_says_becomes_markup(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a<script>", **{EVIL: EVIL}, logging={EVIL: [EVIL, {EVIL: 1}]})
    row = {"event": EVIL, "num_updates": 50, EVIL: 2.0}
    valid = {"event": "valid", "num_updates": 50, f"valid_{EVIL}": 2.0}
    samples: list[dict[str, Any]] = [
        {"num_updates": 20, "id": EVIL, "split": EVIL, "source": EVIL, "output": EVIL},
        {"num_updates": 20, "id": 1, "prediction": {"label": EVIL, "probability": EVIL}},
        {"num_updates": 20, "id": 2, "prediction": {EVIL: EVIL}},
        {"num_updates": 20, "id": 3, "attention": {"source": [EVIL], "target": [EVIL, 1],
                                                   "weights": [[EVIL], EVIL]}},
        {"num_updates": 20, "id": 4, "prediction": {"forecast": {EVIL: [1, EVIL]}, "history": 1}},
        {"num_updates": 20, "id": 5, "prediction": {"forecast": EVIL}},
        {"num_updates": 20, "id": 6, "prediction": {"labels": [EVIL, 1, None]}},
    ]  # fmt: skip
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n" + json.dumps(valid) + "\n")
    with (folder / "samples.jsonl").open("a") as file:
        file.write("".join(json.dumps(each) + "\n" for each in samples))
    (folder / "test_metrics.json").write_text(json.dumps({EVIL: 1.0}))
    page = report_page(read_runs([folder, folder]))
    tags = {tag for tag, _ in _Elements(page).found}
    assert not {"script", "img"} & tags
    assert "\u202e" not in page
    assert "\x07" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("config", ['{"checkpoint": 3, "validation": [1]}', "[1]", "{", '"x"'])
def test_a_configuration_of_any_shape_makes_a_page(tmp_path: Path, config: str) -> None:
    folder = write_run(tmp_path / "a")
    (folder / "config.json").write_text(config)
    (folder / "test_metrics.json").write_text(config)
    (folder / "samples.jsonl").write_text(f'{config}\n{{"id": [1], "num_updates": 1}}\n')
    assert "Training report" in report_page(read_runs([folder]))


def test_further_splits_stand_beside_the_first(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", validation={"splits": ["valid", "news"]})
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"event": "valid", "num_updates": 60, "valid_news_loss": 3.0}) + "\n")
    (chart,) = [c for c in panels_of(read_runs([folder])).main if c.title == "Loss"]
    assert [line.label for line in chart.lines] == ["train", "valid", "news"]


def test_a_run_without_a_row_is_shown_as_such(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "metrics.jsonl").touch()
    assert "config.json: No such file" in text_of(report_page(read_runs([tmp_path / "a"])))


def test_where_a_page_cannot_be_written_is_said(tmp_path: Path) -> None:
    runs = read_runs([write_run(tmp_path / "a")])
    with pytest.raises(ConfigError, match=r"must end with \.html"):
        write_report(runs, tmp_path / "report.txt")
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="output=.*cannot be written"):
        write_report(runs, tmp_path / "file" / "report.html")
    assert write_report(runs, tmp_path / "new" / "report.html").is_file()
