"""Runs a server in a thread while a test asks it."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from seqtrain.report.local_server import LOOPBACK, LocalServer

JSON = {"Content-Type": "application/json"}


@contextmanager
def serving(server: LocalServer) -> Iterator[LocalServer]:
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()


def ask(
    server: LocalServer, method: str, path: str, headers: dict[str, str], body: bytes | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    """Returns the response and its content."""
    connection = http.client.HTTPConnection(LOOPBACK, server.server_address[1], timeout=30)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def post(server: LocalServer, path: str, value: Any) -> tuple[int, Any]:
    """Posts JSON; returns the status and the answer."""
    response, content = ask(server, "POST", path, JSON, json.dumps(value).encode())
    return response.status, json.loads(content)
