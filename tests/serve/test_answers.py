import json
import threading
from typing import Any

import pytest

from seqtrain.pipeline import Pipeline
from seqtrain.serve import answers
from seqtrain.serve.answers import Answerer, BadRequestError, BusyError, Limits

SMALL = Limits(max_inputs=3, max_characters=20, max_values=60)


def asked(pipeline: Pipeline, request: Any, limits: Limits = SMALL) -> list[dict[str, Any]]:
    answer = Answerer(pipeline, limits).answer(json.dumps(request).encode())
    json.dumps(answer, allow_nan=False)
    outputs: list[dict[str, Any]] = answer["outputs"]
    return outputs


def test_texts_are_answered_as_the_pipeline_answers_them(translator: Pipeline) -> None:
    lines = ["a b c", "", "f unknown"]
    outputs = asked(translator, {"inputs": lines})
    texts = [output["hypotheses"][0]["text"] for output in outputs]
    assert texts == translator.translate(lines)


def test_an_empty_line_has_an_empty_answer(translator: Pipeline) -> None:
    outputs = asked(translator, {"inputs": ["", "  "], "nbest": 2})
    assert [output["hypotheses"] for output in outputs] == [[{"text": "", "score": 0.0}]] * 2


def test_the_share_of_unknown_symbols_is_told(translator: Pipeline, classifier: Pipeline) -> None:
    lines = ["a b c d", "a zz b yy", ""]
    outputs = asked(translator, {"inputs": lines})
    assert [output["unknown_percent"] for output in outputs] == [0.0, 50.0, 0.0]
    (output,) = asked(classifier, {"inputs": [{"values": [[1.0, 2.0]]}]})
    assert "unknown_percent" not in output


def test_a_request_may_choose_the_width_of_the_search(translator: Pipeline) -> None:
    (output,) = asked(translator, {"inputs": ["a b"], "beam": 4, "nbest": 3, "lenpen": 0.5})
    scores = [hypothesis["score"] for hypothesis in output["hypotheses"]]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)


def test_one_bad_input_harms_no_other(translator: Pipeline, classifier: Pipeline) -> None:
    limits = Limits(max_characters=10_000)
    good, bad = asked(translator, {"inputs": ["a b", "a " * 100]}, limits)
    assert "hypotheses" in good
    assert "error" in bad
    inputs = [{"values": [[1.0, 2.0]]}, {"values": [[1.0]]}, "text", {"values": "x"}, None, {}]
    first, *others = asked(classifier, {"inputs": inputs}, limits)
    assert first["label"] in first["probabilities"]
    assert all("error" in other for other in others)


def test_forecasts_come_with_pictures_if_they_are_wanted(forecaster: Pipeline) -> None:
    past = {"values": [[50.0, -3.0]] * 24}
    (plain,) = asked(forecaster, {"inputs": [past]})
    assert list(plain["forecast"]) == ["a", "b"]
    assert "pictures" not in plain
    (shown,) = asked(forecaster, {"inputs": [past], "pictures": True})
    assert [picture[:12] for picture in shown["pictures"]] == ["<figure><svg"] * 2
    short, bad = asked(forecaster, {"inputs": [{"values": [[1.0, 2.0]]}, 3]})
    assert "error" in short
    assert "error" in bad


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "send an object"),
        (b'{"inputs": "a"}', "send an object"),
        (b'{"inputs": []}', "send 1 to 3 inputs, not 0"),
        (b'{"inputs": ["a", "b", "c", "d"]}', "send 1 to 3 inputs, not 4"),
        (b'{"inputs": ["a"], "bean": 3}', "'bean' is not known; there are beam"),
        (b'{"inputs": ["aaaaaaaaaaaaaaaaaaaaa"]}', "more than 20 characters"),
        (b'{"inputs": [3]}', "each input must be a text"),
        (b'{"inputs": ["a"], "beam": 21}', "beam must be a whole number from 1 to 20"),
        (b'{"inputs": ["a"], "beam": true}', "beam must be a whole number"),
        (b'{"inputs": ["a"], "nbest": 0}', "nbest must be a whole number"),
        # The rule of seqtrain-generate.
        (b'{"inputs": ["a"], "nbest": 3}', r"generation.nbest must be 1 to generation.beam \(2\)"),
        (b'{"inputs": ["a"], "lenpen": NaN}', "lenpen must be a number"),
        (b'{"inputs": ["a"], "lenpen": "1"}', "lenpen must be a number"),
    ],
)
def test_a_request_that_is_not_in_order_says_why(
    translator: Pipeline, body: bytes, reason: str
) -> None:
    with pytest.raises(BadRequestError, match=reason):
        Answerer(translator, SMALL).answer(body)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([[[[[[1.0]]]]]], "nested too deeply"),
        ({"values": [[1.0]] * 100}, "at most 60 values"),
        ({"values": [[float("nan")]]}, "must be finite"),
        ({"values": [[float("inf")]]}, "must be finite"),
        ({"text": "a" * 21}, "more than 20 characters"),
    ],
)
def test_values_have_limits(classifier: Pipeline, value: Any, reason: str) -> None:
    with pytest.raises(BadRequestError, match=reason):
        asked(classifier, {"inputs": [value]})


def test_requests_wait_for_one_another_but_not_for_ever(
    translator: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "WAIT_SECONDS", 0.01)
    answerer = Answerer(translator, SMALL)
    with answerer._turn, pytest.raises(BusyError, match="ask again later"):
        answerer.answer(b'{"inputs": ["a"]}')


def test_many_threads_get_the_answers_of_one(translator: Pipeline) -> None:
    answerer = Answerer(translator, SMALL)
    lines = ["a b", "c d e", "f"]
    found: dict[str, Any] = {}

    def work(line: str) -> None:
        found[line] = answerer.answer(json.dumps({"inputs": [line]}).encode())["outputs"]

    threads = [threading.Thread(target=work, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[line][0] for line in lines] == asked(translator, {"inputs": lines})


def test_a_page_is_told_what_to_ask_for(
    translator: Pipeline, forecaster: Pipeline, classifier: Pipeline
) -> None:
    text, series, values = (
        Answerer(each, SMALL).about() for each in (translator, forecaster, classifier)
    )
    assert (text["reads"], text["generates"], text["beam"]) == ("lines", True, 2)
    assert "numbers for a, b" in series["hint"]
    assert "2 numbers in each" in values["hint"]
    rows = [[float(word) for word in row.split(",")] for row in series["example"].split("\n")]
    (output,) = asked(forecaster, {"inputs": [{"values": rows}]})
    assert "forecast" in output
