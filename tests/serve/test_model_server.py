import json

from serving import ask, post, serving

from seqtrain.pipeline import Pipeline
from seqtrain.report.local_server import LOOPBACK
from seqtrain.serve.answers import Limits
from seqtrain.serve.model_server import model_server


def test_the_endpoint_answers_and_explains_itself(translator: Pipeline) -> None:
    with serving(model_server(translator, LOOPBACK, 0, Limits(max_inputs=2))) as server:
        status, answer = post(server, "/api/answer", {"inputs": ["a b", "c"]})
        assert status == 200
        texts = [output["hypotheses"][0]["text"] for output in answer["outputs"]]
        assert texts == translator.translate(["a b", "c"])
        assert post(server, "/api/answer", {"inputs": ["a"] * 3})[0] == 400
        assert post(server, "/api/answer", 3)[1] == {
            "error": 'send an object with a list: {"inputs": [...]}'
        }
        assert ask(server, "GET", "/api/answer", {})[0].status == 405
        assert post(server, "/", {})[0] == 405
        about = json.loads(ask(server, "GET", "/api/model", {})[1])
        assert (about["task"], about["run"]) == ("translation", "run")


def test_the_pages_files_are_served_and_no_others(translator: Pipeline) -> None:
    with serving(model_server(translator, LOOPBACK, 0, Limits())) as server:
        kinds = {"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript"}
        for path, kind in kinds.items():
            response, content = ask(server, "GET", path, {})
            assert response.status == 200
            assert (response.headers["Content-Type"] or "").startswith(kind)
            assert content
        for path in ("/page.html", "/../answers.py", "/%2e%2e/answers.py", "/etc/passwd"):
            assert ask(server, "GET", path, {})[0].status == 404
        assert ask(server, "HEAD", "/", {})[1] == b""


def test_a_request_with_a_foreign_name_gets_nothing(translator: Pipeline) -> None:
    with serving(model_server(translator, LOOPBACK, 0, Limits())) as server:
        for path in ("/", "/api/model"):
            response, content = ask(server, "GET", path, {"Host": "rebound.example"})
            assert response.status == 421
            assert b"translation" not in content
