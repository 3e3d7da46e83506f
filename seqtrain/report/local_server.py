"""Pages for a browser on this machine: limits, and a guard against pages of other origins."""

import ipaddress
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import override

from seqtrain.errors import MachineError
from seqtrain.finite_json import finite_json
from seqtrain.option_checks import require_range

LOOPBACK = "127.0.0.1"
MAX_BODY_BYTES = 1 << 20
MAX_CONNECTIONS = 32
SOCKET_SECONDS = 15.0
"""Longest wait for a single packet."""
BODY_SECONDS = 30.0
"""Longest time for a whole body."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What pages may load: only what this server has."""


@dataclass(frozen=True)
class Question:
    """A request that has passed the guards."""

    method: str
    """GET or POST."""
    path: str
    """Without its query."""
    query: str
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What is sent back."""

    content: bytes
    content_type: str = "text/html; charset=utf-8"
    status: int = 200
    policy: str = POLICY
    headers: dict[str, str] = field(default_factory=dict)


Answer = Callable[[Question], Reply]


def json_reply(value: Any, status: int = 200) -> Reply:
    """Returns plain values as JSON."""
    return Reply(finite_json(value).encode(), "application/json", status)


NOT_FOUND = json_reply({"error": "there is no such page"}, 404)


class LocalServer(ThreadingHTTPServer):
    """Answers requests of browsers and scripts, by default only from this machine.

    A request must name this server as its host, so that a foreign page whose name was made to
    point here (DNS rebinding) gets nothing. What changes something or takes time is asked for by
    POST with JSON, which a foreign page cannot send without being allowed to, and none is.

    Args:
        host: Address to listen on.
        port: 0 for any that is free.
        answer: Called in a thread for each request.
    """

    daemon_threads = True
    request_queue_size = 16

    def __init__(self, host: str, port: int, answer: Answer) -> None:
        require_range("port", port, least=0, most=65535)
        self.answer = answer
        self.host = host
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise MachineError(
                f"Cannot listen on {host}, port {port}: {error.strerror or error}. Choose another "
                "port=, or 0 for any."
            ) from error

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_address[1]}/"

    def run(self) -> None:
        """Serves until Ctrl-C."""
        try:
            self.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            pass
        finally:
            self.server_close()

    def is_own_name(self, host: str) -> bool:
        """Says whether a Host header means this server: an address, or one of its names."""
        name = _without_port(host).lower()
        if name in ("localhost", self.host.lower(), socket.gethostname().lower()):
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    @override
    def server_bind(self) -> None:
        # HTTPServer's own asks for the full name of the host, which may wait for a name server.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, self.server_address[1]

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    @override
    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a browser that went away is no fault
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    timeout = SOCKET_SECONDS
    server_version = "seqtrain"
    sys_version = ""
    server: LocalServer

    def do_GET(self) -> None:  # the name is the base class's
        self._respond(b"")

    def do_HEAD(self) -> None:  # the name is the base class's
        self._respond(b"")

    def do_POST(self) -> None:  # the name is the base class's
        if refusal := self._foreign_post():
            self._send(refusal)
            return
        try:
            body = self._body()
        except _BadBodyError as error:
            self._send(json_reply({"error": str(error)}, error.status))
            return
        self._respond(body)

    def _respond(self, body: bytes) -> None:
        host = self.headers.get("Host", "")
        if not self.server.is_own_name(host):
            self._send(json_reply({"error": f"this server is not called {host[:100]!r}"}, 421))
            return
        path, _, query = self.path.partition("?")
        method = "GET" if self.command == "HEAD" else self.command
        try:
            reply = self.server.answer(Question(method, path, query, body))
        except Exception:
            traceback.print_exc()
            reply = json_reply({"error": "the server failed; it says more where it runs"}, 500)
        self._send(reply)

    def _foreign_post(self) -> Reply | None:
        """Returns a refusal of what a page of another origin sends."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if origin is not None and origin.lower() != f"http://{host}".lower():
            return json_reply({"error": "requests of other pages are not answered"}, 403)
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return json_reply({"error": "send JSON, as Content-Type: application/json"}, 415)
        return None

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding"):
            raise _BadBodyError("send the body in one piece, with its Content-Length", 411)
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()):
            raise _BadBodyError("Content-Length is missing", 411)
        if len(length) > 12 or int(length) > MAX_BODY_BYTES:
            raise _BadBodyError(f"the body may have {MAX_BODY_BYTES} bytes", 413)
        deadline = time.monotonic() + BODY_SECONDS
        parts, missing = [], int(length)
        while missing:
            part = self.rfile.read1(min(missing, 65_536))
            if not part or time.monotonic() > deadline:
                raise _BadBodyError("the body did not arrive", 408)
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        own = {
            "Content-Type": reply.content_type,
            "Content-Length": str(len(reply.content)),
            "Content-Security-Policy": reply.policy,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-store",
        }
        for name, value in (own | reply.headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.content)

    @override
    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self._send(json_reply({"error": message or "not understood"}, code))

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing of each request."""


class _BadBodyError(Exception):
    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
