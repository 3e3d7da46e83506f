"""The report in a real browser, at the widths of a desk and of a phone."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import DESKTOP, PHONE, Browser, headless_browser
from report_runs import write_run
from serving import serving

from seqtrain.report.live import live_report
from seqtrain.report.local_server import LOOPBACK
from seqtrain.report.page import write_report
from seqtrain.report.run_log import read_runs

SHOWN = """
[...document.querySelectorAll("section > .charts .{kind}")].every((e) => e.checkVisibility())
"""
PICTURES = """
const pictures = [...document.querySelectorAll("svg[role=img]")]
  .filter((each) => each.checkVisibility());
const boxes = (picture) => [...picture.querySelectorAll("text")]
  .map((text) => [text.textContent, text.getBoundingClientRect()]);
"""
OVERLAPPING = f"""(() => {{ {PICTURES}
return pictures.flatMap((picture) => boxes(picture).flatMap(([a, p], i, all) =>
  all.slice(i + 1).filter(([b, q]) =>
    Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1 &&
    Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 3
  ).map(([b]) => `${{a}} | ${{b}}`)));
}})()"""
OUTSIDE = f"""(() => {{ {PICTURES}
return pictures.flatMap((picture) => {{
  const frame = picture.getBoundingClientRect();
  return boxes(picture).filter(([text, box]) =>
    box.left < frame.left - 1 || box.right > frame.right + 1 ||
    box.top < frame.top - 1 || box.bottom > frame.bottom + 1
  ).map(([text]) => text);
}});
}})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with headless_browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_nothing_overlaps_and_nothing_is_cut_off(
    browser: Browser, tmp_path: Path, size: tuple[int, int]
) -> None:
    folders = [write_run(tmp_path / name, level=level) for name, level in (("a", 1.0), ("b", 90.0))]
    page = write_report(read_runs(folders), tmp_path / "report.html")
    browser.open(page.as_uri(), size)
    browser.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    for kind in ("by-updates", "by-time"):
        browser.run(f"document.getElementById('{kind}').click()")
        assert browser.run(OVERLAPPING) == []
        assert browser.run(OUTSIDE) == []
    # Wide tables scroll in their own frame, not the page.
    assert browser.run("document.documentElement.scrollWidth") <= size[0]
    assert browser.errors == []


def test_wide_tables_show_that_they_scroll_and_the_keyboard_reaches_them(
    browser: Browser, tmp_path: Path
) -> None:
    folders = [write_run(tmp_path / f"a_run_with_a_long_name_{i}", seed=i) for i in range(3)]
    browser.open(write_report(read_runs(folders), tmp_path / "report.html").as_uri(), PHONE)
    frame = "document.querySelector('.overview .wide')"
    assert browser.run(f"{frame}.scrollWidth > {frame}.clientWidth")
    assert browser.run(f"getComputedStyle({frame}).backgroundImage").count("gradient") == 4
    browser.run(f"{frame}.focus()")
    assert browser.run(f"document.activeElement === {frame}")
    unnamed = "[...document.querySelectorAll('[tabindex]')].filter((e) => !e.ariaLabel).length"
    assert browser.run(unnamed) == 0


def test_the_switch_shows_curves_over_updates_or_over_time(
    browser: Browser, tmp_path: Path
) -> None:
    page = write_report(read_runs([write_run(tmp_path / "a")]), tmp_path / "report.html")
    browser.open(page.as_uri())
    assert browser.run(SHOWN.format(kind="by-updates"))
    assert not browser.run(SHOWN.format(kind="by-time"))
    browser.run("document.getElementById('by-time').click()")
    assert browser.run(SHOWN.format(kind="by-time"))
    assert not browser.run(SHOWN.format(kind="by-updates"))


def test_what_a_run_says_runs_no_script(browser: Browser, tmp_path: Path) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    folder = write_run(tmp_path / "a", **{evil: evil})
    row = {"num_updates": 60, "split": "valid", "id": evil, "source": evil, "output": evil}
    with (folder / "samples.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    browser.open(write_report(read_runs([folder]), tmp_path / "report.html").as_uri())
    assert browser.run("document.title") == "Report: a"
    assert browser.run("document.querySelectorAll('img, script').length") == 0
    assert browser.errors == []


def test_a_live_report_follows_its_run(browser: Browser, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    with serving(live_report([folder], LOOPBACK, 0)) as server:
        browser.open(server.url)
        browser.wait_for("document.getElementById('status').textContent.startsWith('live')")
        browser.run("document.querySelector('details').open = true")
        browser.run("document.querySelector('summary').focus()")
        browser.run("document.getElementById('by-time').click()")
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"event": "train", "num_updates": 4321, "train_loss": 0.5}\n')
        browser.wait_for("document.body.textContent.includes('4,321')")
        assert browser.run("document.querySelector('details').open")
        assert browser.run("document.getElementById('by-time').checked")
        assert browser.run("document.activeElement === document.querySelector('summary')")
    browser.wait_for("document.getElementById('status').textContent.includes('has ended')")
    browser.errors.clear()  # the connections that are refused now
    assert browser.errors == []
