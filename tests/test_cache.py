import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eicompress.cache import Cache, disk_errors, write_folder, write_whole
from eicompress.errors import StudyError


def arrays(cache: Cache, key: object, value: float, calls: list[object]) -> float:
    def compute() -> dict[str, np.ndarray]:
        calls.append(key)
        return {"a": np.array([value])}

    return float(cache.arrays("kind", key, compute)["a"][0])


def test_what_is_known_is_not_computed_again(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path), []
    assert arrays(cache, "x", 1.0, calls) == 1.0
    assert arrays(cache, "x", 2.0, calls) == 1.0
    assert calls == ["x"]


def test_what_is_written_whole_can_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"")
    write_whole(tmp_path / "made", b"")
    assert (tmp_path / "made").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_folder_that_is_there_has_its_files_beside_it(tmp_path: Path) -> None:
    def written(path: Path) -> None:
        write_folder(tmp_path / "made", lambda made: None, {path: b"note"})

    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        written(tmp_path / "file" / "note")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    written(tmp_path / "note")
    assert (tmp_path / "note").read_bytes() == b"note" and (tmp_path / "made").is_dir()


def test_a_damaged_entry_is_computed_again(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path), []
    arrays(cache, "x", 1.0, calls)
    (file,) = tmp_path.glob("kind/*/a.npy")
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert arrays(cache, "x", 2.0, calls) == 2.0
    assert len(calls) == 2


def test_an_entry_without_its_checksums_is_computed_again(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path), []
    arrays(cache, "x", 1.0, calls)
    (file,) = tmp_path.glob("kind/*/checksums.json")
    file.unlink()
    assert arrays(cache, "x", 2.0, calls) == 2.0


@pytest.mark.parametrize(
    "text", [b"\xff\xfe", b"[]", b"3", b'{"a.npy": 3}', b'{"..": "x"}', b'{"a\\u0000": ""}', b"[" * 100_000]
)
def test_damaged_checksums_are_said_and_the_entry_is_computed_again(
    tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    cache, calls = Cache(tmp_path), []
    arrays(cache, "x", 1.0, calls)
    (file,) = tmp_path.glob("kind/*/checksums.json")
    file.write_bytes(text)
    assert arrays(cache, "x", 2.0, calls) == 2.0
    assert caplog.messages == [
        f"the cache's entry `{file.parent}` is damaged: it is dropped, and made again where it is needed"
    ]
    assert arrays(cache, "x", 3.0, calls) == 2.0


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), OSError("9 requested and 3 written")]
)
def test_a_full_disk_of_the_cache_is_not_taken_for_the_study_s(
    tmp_path: Path, error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))

    def write(folder: Path) -> None:
        raise error

    said = f"`{tmp_path / 'cache'}` must be a place to write to, but: No space left on device.* with EICOMPRESS_CACHE"
    with pytest.raises(StudyError, match=said), disk_errors(tmp_path / "studies" / "mine"):
        Cache(tmp_path / "cache").store("kind", "x", write)


WAITS = """
import sys, time
from pathlib import Path
from eicompress.cache import Cache

def write(folder):
    with open("calls", "a") as file:
        file.write("called\\n")
    time.sleep(0.5)
    (folder / "file").write_text("made")

entry = Cache(Path("cache")).kept("kind", "x", write)
assert (entry / "file").read_text() == "made"
"""


def test_of_several_processes_that_want_the_same_one_computes_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WAITS]
    processes = [subprocess.Popen(command, cwd=tmp_path) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (tmp_path / "calls").read_text() == "called\n"


def test_a_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    code = "import os, signal\n" + WAITS.replace("time.sleep(0.5)", "os.kill(os.getpid(), signal.SIGKILL)")
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == -signal.SIGKILL
    subprocess.run([sys.executable, "-c", WAITS], cwd=tmp_path, check=True)
    assert (tmp_path / "calls").read_text() == "called\n" * 2


def test_a_draft_of_a_process_that_was_killed_is_removed_in_time(tmp_path: Path) -> None:
    draft = tmp_path / "kind" / ".draft-of-old"
    draft.mkdir(parents=True)
    os.utime(draft, (0, 0))
    arrays(Cache(tmp_path), "x", 1.0, [])
    assert not draft.exists()


def test_an_interrupted_entry_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def interrupted(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.store("kind", "x", interrupted)
    assert cache.find("kind", "x") is None
    assert not list(tmp_path.glob("kind/*")) and not list(tmp_path.glob("kind/.*"))


def test_the_least_recently_used_entries_go_first(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "file").write_bytes(b"0" * 1000)

    cache = Cache(tmp_path, limit_bytes=3500)
    for at, key in enumerate("abc"):
        os.utime(cache.store("kind", key, write), (at, at))
    assert cache.find("kind", "a")
    cache.store("kind", "d", write)
    assert cache.find("kind", "b") is None
    assert cache.find("kind", "a") and cache.find("kind", "d")
