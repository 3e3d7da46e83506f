import json
from pathlib import Path
from typing import Any

from report_runs import write_run
from serving import JSON, ask, serving

from seqtrain.report.live import live_report
from seqtrain.report.local_server import LOOPBACK, LocalServer


def get(server: LocalServer, path: str, method: str = "GET") -> tuple[int, bytes]:
    response, content = ask(server, method, path, JSON, b"")
    return response.status, content


def test_news_are_sent_once(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with serving(live_report([folder], LOOPBACK, 0)) as server:
        status, page = get(server, "/")
        assert status == 200
        assert b"nothing is written yet" in page
        write_run(folder)
        first: dict[str, Any] = json.loads(get(server, "/content")[1])
        assert "said after 40" in first["content"]
        assert get(server, f"/content?version={first['version']}") == (204, b"")
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"event": "train", "num_updates": 90, "train_loss": 0.5}\n')
        status, second = get(server, f"/content?version={first['version']}")
        assert status == 200
        assert b">90<" in second
        assert get(server, "/live.js")[0] == 200
        assert get(server, "/../pyproject.toml")[0] == 404
        assert get(server, "/", "POST")[0] == 405
