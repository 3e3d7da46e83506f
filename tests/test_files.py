import json
import os
import signal
import stat
from pathlib import Path

import pytest

from seqtrain.errors import MachineError
from seqtrain.files import (
    RunLock,
    as_typed,
    ensure_writable_directory,
    remove_tree,
    write_atomically,
)


def test_atomic_write_replaces_the_content_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_failed_atomic_write_keeps_the_old_file_and_removes_its_own(tmp_path: Path) -> None:
    target = tmp_path / "occupied"
    (target / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_atomically(target, b"new")
    assert list(tmp_path.iterdir()) == [target]


def test_atomic_write_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    link = tmp_path / "link"
    link.symlink_to(victim)
    write_atomically(link, b"new")
    assert victim.read_bytes() == b"precious"
    assert not link.is_symlink()
    assert link.read_bytes() == b"new"


def test_removing_a_tree_does_not_follow_links(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").touch()
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(victim)
    remove_tree(tree)
    link = tmp_path / "link"
    link.symlink_to(victim)
    remove_tree(link)
    assert [path.name for path in tmp_path.rglob("*")] == ["victim", "file"]


def test_writable_directory_is_created_and_left_empty(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    ensure_writable_directory(path)
    ensure_writable_directory(path)
    assert list(path.iterdir()) == []


def test_directory_that_is_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.touch()
    with pytest.raises(MachineError, match="it is a file") as refusal:
        ensure_writable_directory(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    with pytest.raises(MachineError, match="Not a directory"):
        ensure_writable_directory(path / "below")


def test_directory_without_write_permission_is_refused() -> None:
    # The kernel refuses files there to everybody, root too.
    with pytest.raises(MachineError, match="Cannot write in the directory /proc/self"):
        ensure_writable_directory(Path("/proc/self"))


def test_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="File name too long"):
        ensure_writable_directory(tmp_path / ("x" * 300))


def test_second_lock_names_the_holder(tmp_path: Path) -> None:
    with (
        RunLock(tmp_path),
        pytest.raises(MachineError, match=f"in use by pid {os.getpid()} on host .* since 20"),
        RunLock(tmp_path),
    ):
        pass


def test_lock_says_who_holds_it_and_can_be_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    for _ in range(2):
        with RunLock(tmp_path):
            holder = json.loads(path.read_text())
            assert holder.keys() == {"pid", "host", "started"}
    assert path.read_bytes() == b""


def test_lock_ends_with_a_killed_holder_though_its_child_lives(tmp_path: Path) -> None:
    ready, tell_ready = os.pipe()
    holder = os.fork()
    if holder == 0:
        with RunLock(tmp_path):
            worker = os.fork()
            if worker == 0:
                signal.pause()
            os.write(tell_ready, f"{worker}\n".encode())
            signal.pause()
        os._exit(1)
    worker = int(os.read(ready, 20))
    try:
        with pytest.raises(MachineError, match=f"in use by pid {holder} "), RunLock(tmp_path):
            pass
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        with RunLock(tmp_path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        os.close(ready)
        os.close(tell_ready)


def test_lock_file_that_is_a_link_is_refused_and_its_target_untouched(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "run.lock").symlink_to(victim)
    with pytest.raises(MachineError, match="run.lock"), RunLock(tmp_path):
        pass
    assert victim.read_bytes() == b"precious"


def test_atomic_write_respects_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_path_is_shown_from_the_working_folder_where_it_lies_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "a/b", Path("a/b"), Path("./a/b")):
        assert as_typed(path) == Path("a/b")
    assert as_typed(Path("../c")) == Path("../c")
    assert as_typed(tmp_path.parent / "c") == tmp_path.parent / "c"
