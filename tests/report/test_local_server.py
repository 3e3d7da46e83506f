import json
import socket
from collections.abc import Iterator

import pytest
from serving import JSON, ask, serving

from seqtrain.errors import ConfigError, MachineError
from seqtrain.report import local_server
from seqtrain.report.local_server import LocalServer, Question, Reply, json_reply


def echo(question: Question) -> Reply:
    if question.path == "/fault":
        raise RuntimeError("a secret of the server")
    body = question.body.decode()
    return json_reply({"path": question.path, "query": question.query, "body": body})


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with serving(LocalServer("127.0.0.1", 0, echo)) as running:
        yield running


def raw(server: LocalServer, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=10) as link:
        link.sendall(data)
        return b"".join(iter(lambda: link.recv(65_536), b""))


def test_requests_reach_the_answer_and_pages_are_locked_up(server: LocalServer) -> None:
    response, found = ask(server, "POST", "/a?b=c", JSON, b'{"x": 1}')
    assert json.loads(found) == {"path": "/a", "query": "b=c", "body": '{"x": 1}'}
    assert response.status == 200
    assert "default-src 'none'" in (response.headers["Content-Security-Policy"] or "")
    assert "frame-ancestors 'none'" in (response.headers["Content-Security-Policy"] or "")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200), ("localhost:{port}", 200), ("[::1]:{port}", 200),
        ("192.168.1.7", 200), ("evil.example:{port}", 421), ("localhost.evil.example", 421),
        ("", 421), ("127.0.0.1.evil.example", 421), ("127.0.0.1:x", 421),
    ],
)  # fmt: skip
def test_only_names_of_this_machine_are_answered(
    server: LocalServer, host: str, status: int
) -> None:
    headers = {"Host": host.format(port=server.server_address[1])}
    assert ask(server, "GET", "/", headers)[0].status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (JSON | {"Origin": "http://evil.example"}, 403),
        (JSON | {"Origin": "null"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({}, 415),
        (JSON | {"Content-Type": "Application/JSON; charset=utf-8"}, 200),
    ],
)
def test_other_pages_cannot_post(server: LocalServer, headers: dict[str, str], status: int) -> None:
    assert ask(server, "POST", "/", headers, b"{}")[0].status == status


def test_the_page_of_the_server_itself_can_post(server: LocalServer) -> None:
    host = f"127.0.0.1:{server.server_address[1]}"
    headers = JSON | {"Host": host, "Origin": f"http://{host}"}
    assert ask(server, "POST", "/", headers, b"{}")[0].status == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 99999999999999999999\r\n", b"413"),
        (b"Content-Length: 1048577\r\n", b"413"),
        (b"Content-Length: -1\r\n", b"411"),
        (b"Content-Length: \xb2\r\n", b"411"),
        (b"Transfer-Encoding: chunked\r\n", b"411"),
        (b"", b"411"),
    ],
)
def test_bodies_have_a_length_and_a_limit(server: LocalServer, head: bytes, status: bytes) -> None:
    request = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + head
    assert raw(server, request + b"\r\n").split(b" ", 2)[1] == status


def test_a_body_that_does_not_come_is_given_up(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_server, "BODY_SECONDS", -1.0)
    request = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    assert b" 408 " in raw(server, request + b"Content-Length: 9\r\n\r\n1")


@pytest.mark.parametrize(
    "data", [b"\r\n\r\n", b"GET\r\n\r\n", b"DELETE / HTTP/1.1\r\n\r\n", b"\x00\xff\r\n\r\n",
             b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n"]
)  # fmt: skip
def test_what_is_no_request_harms_nothing(server: LocalServer, data: bytes) -> None:
    assert b"Traceback" not in raw(server, data)
    assert ask(server, "GET", "/", {})[0].status == 200


def test_a_fault_of_the_server_is_not_told_to_the_browser(
    server: LocalServer, capfd: pytest.CaptureFixture[str]
) -> None:
    response, found = ask(server, "GET", "/fault", {})
    assert response.status == 500
    assert b"secret" not in found
    assert "RuntimeError: a secret of the server" in capfd.readouterr().err


def test_more_connections_than_there_is_room_for_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local_server, "MAX_CONNECTIONS", 2)
    with serving(LocalServer("127.0.0.1", 0, echo)) as server:
        address = ("127.0.0.1", server.server_address[1])
        waiting = [socket.create_connection(address, timeout=10) for _ in range(2)]
        with socket.create_connection(address, timeout=10) as third:
            assert third.recv(1) == b""
        for link in waiting:
            link.close()


def test_a_place_to_listen_that_there_is_not_is_named(server: LocalServer) -> None:
    port = server.server_address[1]
    with pytest.raises(MachineError, match=f"Cannot listen on 127.0.0.1, port {port}"):
        LocalServer("127.0.0.1", port, echo)
    with pytest.raises(MachineError, match="Cannot listen on nowhere.invalid"):
        LocalServer("nowhere.invalid", 0, echo)
    with pytest.raises(ConfigError, match="port must be from 0 to 65535, got 70000"):
        LocalServer("127.0.0.1", 70_000, echo)
