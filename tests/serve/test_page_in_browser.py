"""The page to try a model in a real browser."""

from collections.abc import Iterator

import pytest
from browser import DESKTOP, PHONE, Browser, headless_browser
from serving import serving

from seqtrain.pipeline import Pipeline
from seqtrain.report.local_server import LOOPBACK
from seqtrain.serve.answers import Limits
from seqtrain.serve.model_server import model_server

ANSWERED = "document.querySelectorAll('article').length"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with headless_browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


def ask(browser: Browser, text: str) -> None:
    browser.wait_for("about !== null")
    browser.run(f"place('input').value = {text!r}; place('send').click()")


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_lines_are_translated(
    browser: Browser, translator: Pipeline, size: tuple[int, int]
) -> None:
    with serving(model_server(translator, LOOPBACK, 0, Limits())) as server:
        browser.open(server.url, size)
        browser.wait_for("about !== null")
        browser.run("place('nbest').value = 2")
        ask(browser, "a b c\n<b>f</b>")
        browser.wait_for(f"{ANSWERED} === 2")
        inputs, outputs = (
            browser.run(f"[...document.querySelectorAll('{each}')].map((e) => e.textContent)")
            for each in (".input", ".output bdi")
        )
        assert inputs == ["a b c", "<b>f</b>"]
        nbest = translator.generate_lines(["a b c", "<b>f</b>"], translator.config.generation)
        best = [texts[0].text or "(nothing)" for texts in nbest]
        assert outputs[::2] == best
        assert browser.run("document.documentElement.scrollWidth") <= size[0]
    assert browser.errors == []


def test_what_cannot_be_answered_is_said(browser: Browser, translator: Pipeline) -> None:
    with serving(model_server(translator, LOOPBACK, 0, Limits(max_inputs=1))) as server:
        browser.open(server.url)
        ask(browser, "a\nb")
        assert "send 1 to 1 inputs, not 2" in browser.wait_for(
            "place('status').className === 'error' && place('status').textContent"
        )
    browser.errors.clear()  # the refused request


def test_faults_are_told_in_words(browser: Browser, translator: Pipeline) -> None:
    said = "place('status').className === 'error' && place('status').textContent"
    with serving(model_server(translator, LOOPBACK, 0, Limits())) as server:
        browser.open(server.url)
        browser.wait_for("about !== null")
        assert browser.run("document.title") == "Try run: translation"
        ask(browser, " ")
        assert browser.wait_for(said) == "type something first"
        ask(browser, "a\n\nzz a")
        browser.wait_for(f"{ANSWERED} === 3")
        cards = browser.run("[...document.querySelectorAll('article')].map((e) => e.textContent)")
        assert cards[1] == "(an empty line)(nothing)"
        assert cards[2].endswith("50 % of this input's symbols are unknown to the model")
        browser.run("place('nbest').value = 9; place('send').click()")
        assert "generation.nbest must be 1 to generation.beam" in browser.wait_for(said)
        assert browser.run(ANSWERED) == 0
    browser.run("place('send').click()")
    browser.wait_for("place('status').textContent.includes('the server does not answer')")
    browser.errors.clear()  # the refused requests


def test_everything_has_a_name_and_the_keyboard_sends(
    browser: Browser, translator: Pipeline
) -> None:
    with serving(model_server(translator, LOOPBACK, 0, Limits())) as server:
        browser.open(server.url, PHONE)
        browser.wait_for("about !== null")
        unnamed = (
            "[...document.querySelectorAll('input, textarea')].filter((e) => !e.labels.length)"
        )
        assert browser.run(f"{unnamed}.length") == 0
        browser.run("place('input').value = 'a b'")
        event = "new KeyboardEvent('keydown', {key: 'Enter', ctrlKey: true, cancelable: true})"
        browser.run(f"place('input').dispatchEvent({event})")
        browser.wait_for(f"{ANSWERED} === 1")
    assert browser.errors == []


def test_numbers_get_a_class(browser: Browser, classifier: Pipeline) -> None:
    with serving(model_server(classifier, LOOPBACK, 0, Limits())) as server:
        browser.open(server.url)
        ask(browser, "0.5, 1\n-1 nan-sense")
        assert '"nan-sense" is not a number' in browser.wait_for("place('status').textContent")
        ask(browser, "0.5, 1\n-1; 0.25")
        browser.wait_for(f"{ANSWERED} === 1")
        assert browser.run("document.querySelectorAll('meter').length") == 3
        (row,) = classifier.predict([{"values": [[0.5, 1.0], [-1.0, 0.25]]}])
        assert browser.run("document.querySelector('.output').textContent") == row["label"]
    assert browser.errors == []


def test_a_series_gets_a_forecast_with_pictures(browser: Browser, forecaster: Pipeline) -> None:
    with serving(model_server(forecaster, LOOPBACK, 0, Limits())) as server:
        browser.open(server.url, PHONE)
        browser.wait_for("about !== null")
        browser.run("place('example').click(); place('send').click()")
        browser.wait_for(f"{ANSWERED} === 1")
        assert browser.run("document.querySelectorAll('figure svg[role=img]').length") == 2
        assert browser.run("document.querySelectorAll('table tr').length") == 1 + 6
        assert browser.run("document.documentElement.scrollWidth") <= PHONE[0]
    assert browser.errors == []
