"""A trained model as a local page and a JSON endpoint."""

from importlib.resources import files

from seqtrain.pipeline import Pipeline
from seqtrain.report.local_server import NOT_FOUND, LocalServer, Question, Reply, json_reply
from seqtrain.serve.answers import Answerer, BadRequestError, BusyError, Limits

PAGES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}


def model_server(pipeline: Pipeline, host: str, port: int, limits: Limits) -> LocalServer:
    """Returns a server that answers with a model; call its `run`.

    GET / is the page, GET /api/model says what the model reads, and POST /api/answer with
    {"inputs": [...]} answers (see `Answerer`).
    """
    answerer = Answerer(pipeline, limits)

    def answer(question: Question) -> Reply:
        if question.path == "/api/answer":
            return _answer(answerer, question)
        if question.method != "GET":
            return json_reply({"error": "ask with GET"}, 405)
        if question.path == "/api/model":
            return json_reply(answerer.about())
        if question.path in PAGES:
            name, kind = PAGES[question.path]
            return Reply(files("seqtrain.serve").joinpath("assets", name).read_bytes(), kind)
        return NOT_FOUND

    return LocalServer(host, port, answer)


def _answer(answerer: Answerer, question: Question) -> Reply:
    if question.method != "POST":
        return json_reply({"error": 'send {"inputs": [...]} by POST'}, 405)
    try:
        return json_reply(answerer.answer(question.body))
    except BadRequestError as error:
        return json_reply({"error": str(error)}, 400)
    except BusyError as error:
        return json_reply({"error": str(error)}, 503)
