"""The report as a page that follows runs while they go on."""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.parse import parse_qs

from seqtrain.errors import SeqtrainError
from seqtrain.report.local_server import NOT_FOUND, LocalServer, Question, Reply, json_reply
from seqtrain.report.page import page_policy, report_content, report_page
from seqtrain.report.run_folders import run_folders
from seqtrain.report.run_log import FILES, read_runs


def live_report(runs: Sequence[Path], host: str, port: int) -> LocalServer:
    """Returns a server of a report that is read anew from the run folders; call its `run`."""
    report = _LiveReport(list(runs))

    def answer(question: Question) -> Reply:
        if question.method != "GET":
            return json_reply({"error": "ask with GET"}, 405)
        if question.path == "/":
            page = report_page(read_runs(report.paths, may_be_new=True), live=True)
            return Reply(page.encode(), policy=f"{page_policy(live=True)}; frame-ancestors 'none'")
        if question.path == "/live.js":
            script = files("seqtrain.report").joinpath("assets", "live.js").read_bytes()
            return Reply(script, "text/javascript; charset=utf-8")
        if question.path == "/content":
            return report.news(parse_qs(question.query).get("version", [""])[0])
        return NOT_FOUND

    return LocalServer(host, port, answer)


@dataclass(frozen=True)
class _Content:
    stamp: tuple[object, ...]
    version: str
    text: str


class _LiveReport:
    """The content of the page, made again only when a file has changed."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self._newest: _Content | None = None
        self._turn = threading.Lock()

    def news(self, version: str) -> Reply:
        """Returns the content, or nothing if the browser has this version of it."""
        with self._turn:
            stamp = self._stamp()
            if self._newest is None or self._newest.stamp != stamp:
                try:
                    text = report_content(read_runs(self.paths, may_be_new=True))
                except SeqtrainError as error:  # a folder that has gone, for example
                    return json_reply({"error": str(error)}, 503)
                digest = hashlib.sha256(text.encode()).hexdigest()
                self._newest = _Content(stamp, digest[:16], text)
            newest = self._newest
        if version == newest.version:
            return Reply(b"", status=204)
        return json_reply({"version": newest.version, "content": newest.text})

    def _stamp(self) -> tuple[object, ...]:
        """Returns what changes when a file does."""
        folders = run_folders(self.paths)
        return tuple((path, _stamp_of(path / name)) for path in folders for name in FILES)


def _stamp_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
