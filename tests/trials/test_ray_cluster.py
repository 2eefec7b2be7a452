"""Workers on a real Ray cluster of two nodes, both on this machine, and what is decided before there is one."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import shared_weights
from test_worker import BAD, STEPS, ignore, job

import eicompress
from eicompress import cli
from eicompress.errors import SpecError, StudyError
from eicompress.plugins import discover
from eicompress.recipe import Recipe
from eicompress.spec import Spec, read
from eicompress.study.plan import place_of
from eicompress.study.result import Result
from eicompress.trials.builder import BUILDS, open_builder
from eicompress.trials.ray_cluster import Cluster, Place
from eicompress.trials.shipping import SENT, arrived, files_digest, packed_setup, unpacked, write_files
from eicompress.trials.watched import Limits, Setup
from eicompress.trials.worker import InProcess, made_of
from eicompress.values import Job, Progress, Record

NAMED = {"model": "m", "data": "d"}
OF_RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
"""What Ray finds in its environment; at its own niceness, 15, workers wait for all other tests of a busy machine."""


def test_what_a_worker_gets_of_ray_is_checked() -> None:
    spec = read({**NAMED, "engine": "ray", "workers": "3", "worker_cpus": "2", "worker_gpus": "0.5"})
    assert place_of(spec) == Place("", 2, 0.5) and spec.settings["workers"] == 3
    assert not {"engine", "workers", "worker_cpus", "worker_gpus"} & set(spec.to_toml())
    for written, said in [
        ({"engine": "raay"}, "`--engine` must be one of local, ray, but got `raay`: did you mean `ray`"),
        ({"ray_address": "auto"}, "`--ray-address` must come with `--engine ray`"),
        ({"worker_gpus": "1"}, "`--worker-gpus` must come with `--engine ray`"),
        ({"engine": "ray", "workers": "0"}, "`--workers` must be a whole number from 1 to 1,024"),
        ({"engine": "ray", "ray_address": "ray://head:10001"}, "`--ray-address` must be `auto`, or the host and port"),
        ({"engine": "ray", "worker_gpus": "1.5"}, "`--worker-gpus` must be a whole number or a share of one GPU"),
    ]:
        with pytest.raises(SpecError, match=said):
            read({**NAMED, **written})


def test_without_ray_one_message_says_what_to_type(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def missing(name: str) -> str:
        if name == "ray":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    version = metadata.version
    monkeypatch.setattr(metadata, "version", missing)
    assert cli.run(["search", "--model", "m", "--data", "d", "--budget", "2MB", "--engine", "ray"]) == 2
    assert capsys.readouterr().err == (
        "error: `--engine ray` must have Ray, which is not installed: pip install 'eicompress[ray]'\n"
    )


@pytest.mark.parametrize(
    ("place", "resources", "room"),
    [
        (Place(cpus=2), {"CPU": 7.0}, 3),
        (Place(cpus=1, gpus=1), {"CPU": 16.0, "GPU": 2.0}, 2),
        (Place(cpus=1, gpus=0.25), {"CPU": 3.0, "GPU": 1.0}, 3),
        (Place(gpus=1), {"CPU": 4.0}, 0),
    ],
)
def test_a_node_has_room_for_as_many_workers_as_it_has_resources(
    place: Place, resources: dict[str, float], room: int
) -> None:
    assert place.room(resources) == room


def test_the_data_of_each_task_is_found_where_it_was_sent(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(name)
    data = [f"one={tmp_path / 'a.jsonl'}", f"other={tmp_path / 'b.jsonl'}"]
    described, files = packed_setup(Setup(read({"model": "-", "data": data}).settings, str(tmp_path)))
    json.dumps(described)
    assert files == {"0/a.jsonl": b"a", "1/b.jsonl": b"b"}
    there = tmp_path / "there"
    sent = json.loads(json.dumps(described))
    assert unpacked(sent, there)["settings"]["data"] == [f"one={there / '0/a.jsonl'}", f"other={there / '1/b.jsonl'}"]


def test_what_the_flags_name_by_a_path_is_found_where_it_was_sent(tmp_path: Path) -> None:
    model, texts, there = tmp_path / "model", tmp_path / "texts.txt", tmp_path / "there"
    (model / "deep").mkdir(parents=True)
    (model / ".git").mkdir()
    for name in ("config.json", "deep/weights", ".git/objects"):
        (model / name).write_text(name)
    texts.write_text("a text")
    given = {"model": str(model), "data": "builtin:docstrings", "teacher": str(model), "task": "classification"}
    given |= {"plugin": str(texts)}
    settings = read({**given, "unlabelled": [str(texts), "owner/name"]}).settings
    setup = Setup(settings, str(tmp_path), head=str(model / "deep"))
    described, files = packed_setup(setup)
    json.dumps(described)
    assert files == {
        "0/model/config.json": b"config.json",
        "0/model/deep/weights": b"deep/weights",
        "1/texts.txt": b"a text",
        "2/deep/weights": b"deep/weights",
    }
    write_files(files, there)
    found = unpacked(described, there)
    assert found["head"] == str(there / "2/deep")
    found = found["settings"]
    assert found["model"] == str(there / "0/model") == found["teacher"][0]
    assert found["unlabelled"] == [str(there / "1/texts.txt"), "owner/name"]
    assert (found["data"], found["task"]) == ("builtin:docstrings", "classification")
    assert unpacked({"data": f"{SENT}:owner/name"}, there) == {"data": f"{SENT}:owner/name"}
    assert described["settings"]["plugin"] == {SENT: "1/texts.txt"}
    assert (
        files_digest(files)
        == files_digest(dict(reversed(files.items())))
        != files_digest({**files, "1/texts.txt": b"another"})
    )


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/../../outside", "", "a\0"])
def test_a_worker_names_no_path_outside_its_folder(name: str, tmp_path: Path) -> None:
    made = Record(recipe=(), draw=0, outcome="complete", files={"logits": "logits.npy"})
    files, folder = {"logits.npy": b"1"}, tmp_path / "study"
    folder.mkdir()
    assert arrived(made, files, folder).files == {"logits": str(folder / "logits.npy")}
    said = "must name its files by paths in a folder, but sent"
    for sent, record in (({**files, name: b"2"}, made), (files, replace(made, files={"logits": name}))):
        with pytest.raises(StudyError, match=said):
            arrived(record, sent, folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["study", "logits.npy"]


def test_a_cluster_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    said = r"`--ray-address 127.0.0.1:1` must be a Ray cluster that this machine is a node of, but: .*refused"
    with pytest.raises(StudyError, match=said), Cluster(Setup({}, ""), Limits(1.0), 1, Place("127.0.0.1:1")):
        pass


def test_too_much_to_send_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "texts.txt").open("wb") as file:
        file.truncate(5 * 10**9)
    with pytest.raises(StudyError, match=r"must be at most 4 GB to be sent .*, but are 5\.0 GB"):
        packed_setup(Setup({"unlabelled": [str(tmp_path / "texts.txt")]}, ""))


class Nodes:
    """A Ray cluster of two nodes with room for one worker each; the second has a cache of its own."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster as Local

        self.folder = folder
        self.cache, self.other_cache, self.log = folder / "cache", folder / "other-cache", folder / "log"
        small = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
        self.made = Local(initialize_head=True, head_node_args=small)
        self.small = {name: small[name] for name in ("num_cpus", "object_store_memory")}
        self.other = self.add()

    def add(self) -> Any:
        """A node more."""
        return self.made.add_node(**self.small, env_vars={"EICOMPRESS_CACHE": str(self.other_cache)})

    def renew(self) -> None:
        """Both nodes, with nothing that another test has left there."""
        for cache in (self.cache, self.other_cache):
            shutil.rmtree(cache, ignore_errors=True)
        self.log.unlink(missing_ok=True)
        if self.other not in self.made.worker_nodes:
            self.other = self.add()


@pytest.fixture(scope="module")
def made_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    pytest.importorskip("ray")
    folder = tmp_path_factory.mktemp("nodes")
    with pytest.MonkeyPatch.context() as patch:
        # What the nodes' workers find in their environment.
        patch.setenv("EICOMPRESS_CACHE", str(folder / "cache"))
        patch.setenv(shared_weights.LOG, str(folder / "log"))
        patch.setenv("OMP_NUM_THREADS", "1")
        for name, value in OF_RAY.items():
            patch.setenv(name, value)
        made = Nodes(folder)
    try:
        yield made
    finally:
        made.made.shutdown()


@pytest.fixture
def nodes(made_nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    monkeypatch.setenv("EICOMPRESS_CACHE", str(made_nodes.cache))
    monkeypatch.setenv(shared_weights.LOG, str(made_nodes.log))
    for name, value in OF_RAY.items():
        monkeypatch.setenv(name, value)
    made_nodes.renew()
    return made_nodes


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, path.read_text().split())
    return found


def stands(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] == "T"


def ended(pids: set[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def pid_of(seat: Any) -> int:
    import ray

    return int(ray.get(seat.actor.__ray_call__.remote(lambda _: os.getpid())))


@pytest.fixture
def setup(model_folder: Path, data_folder: Path, tmp_path: Path) -> Setup:
    (tmp_path / "study").mkdir()
    return Setup(read({"model": str(model_folder), "data": str(data_folder)}).settings, str(tmp_path / "study"))


def cluster(nodes: Nodes, setup: Setup, count: int = 2) -> Cluster:
    return Cluster(setup, Limits(seconds=300), count, Place(nodes.made.address))


@pytest.mark.slow
def test_other_machines_build_what_this_one_would_build_and_need_none_of_its_files(
    nodes: Nodes, setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache-here"))
    builder = open_builder(Spec(setup.settings), discover(), folder=tmp_path / "here", progress=lambda _: None)
    here = InProcess(builder, discover())
    # Long enough to be asked meanwhile what it does.
    recipe = (*STEPS[:-1], {**STEPS[-1], "epochs": 100.0, "distortions": 4})
    here.submit(replace(job(0), recipe=recipe))
    expected = here.wait(ignore).record
    assert expected is not None
    seen: list[tuple[int, Progress]] = []
    with cluster(nodes, replace(setup, digests=made_of(builder))) as workers:
        for folder in (tmp_path / "model", tmp_path / "data"):
            shutil.rmtree(folder)
        for number in (1, 2):
            workers.submit(replace(job(number), recipe=recipe))
        assert not workers.free
        done = [workers.wait(lambda number, progress: seen.append((number, progress))) for _ in range(2)]
        assert workers.free
    assert {each.job.number for each in done} == {number for number, _ in seen} == {1, 2}
    for each in done:
        assert each.record is not None
        moved = {name: file.replace("/study/", "/here/") for name, file in each.record.files.items()}
        same = {"seconds_by_phase": {}, "versions": {}}
        assert replace(each.record, files=moved, **same) == replace(expected, **same)
        assert all(Path(file).exists() for file in each.record.files.values())
    files = {path.name for path in (tmp_path / "study" / BUILDS).iterdir()}
    assert len(files) == 2 and not list((tmp_path / "study").glob(".arriving-*"))
    assert list((nodes.cache / "sent").iterdir()) and list((nodes.other_cache / "sent").iterdir())


@pytest.mark.slow
def test_a_lost_worker_and_a_lost_node_cost_their_jobs_an_attempt_and_nothing_else(
    nodes: Nodes, setup: Setup, tmp_path: Path
) -> None:
    (tmp_path / "bad.py").write_text(BAD)
    settings = Spec({**setup.settings, "plugin": str(tmp_path / "bad.py")}).settings
    with cluster(nodes, replace(setup, settings=settings)) as workers:
        for number in (1, 2):
            workers.submit(job(number, "hang"))
        far, near = sorted(workers._seats, key=lambda seat: seat.node != nodes.other.node_id)
        assert (far.node, near.node) == (nodes.other.node_id, nodes.made.head_node.node_id)
        pids = {seat.node: pid_of(seat) for seat in (far, near)}
        until(lambda: all(children_of(pid) for pid in pids.values()))
        (trial,), (other,) = children_of(pids[near.node]), children_of(pids[far.node])
        with workers.paused():
            until(lambda: stands(trial))
            assert not stands(other)
        until(lambda: not stands(trial))

        jobs = {seat.node: seat.job for seat in (far, near)}
        os.kill(pids[near.node], signal.SIGKILL)
        done = workers.wait(ignore)
        assert (done.fate, done.job) == ("lost", jobs[near.node])
        assert re.match("its worker on .+ was lost: ", done.reason)
        until(lambda: ended({trial}))
        nodes.made.remove_node(nodes.other, allow_graceful=False)
        done = workers.wait(ignore)
        assert (done.fate, done.job) == ("lost", jobs[far.node])
        until(lambda: ended({other}))
        workers.submit(job(3))
        assert workers.wait(ignore).fate == "built"
    said = r"must have room for 2 workers of 1 CPU each, but has it for 1: give a smaller `--workers`"
    with pytest.raises(StudyError, match=said), cluster(nodes, setup):
        pass


@pytest.mark.slow
def test_a_job_of_the_cluster_that_runs_when_the_time_is_used_up_is_stopped(
    nodes: Nodes, setup: Setup, tmp_path: Path
) -> None:
    (tmp_path / "bad.py").write_text(BAD)
    settings = Spec({**setup.settings, "plugin": str(tmp_path / "bad.py")}).settings
    with cluster(nodes, replace(setup, settings=settings), count=1) as workers:
        workers.submit(job(1, "hang"))
        done = workers.wait(ignore, within_s=1.0)
        assert (done.fate, done.job.number, workers.free) == ("out of time", 1, True)
        workers.submit(job(2))
        assert workers.wait(ignore).fate == "built"


SPACE = """
fidelity = 0.5

[[slot]]
strategy = "thin_student"
layers = { low = 1, high = 3 }
neurons = { low = 0.25, high = 1.0 }

[[slot]]
strategy = "distillation"
epochs = 60.0
label_weight = 1.0
learning_rate = { low = 1e-4, high = 1e-2, log = true }
distortions = 4
"""


class Search:
    """A search in a process of its own, in a folder of its own."""

    def __init__(self, folder: Path, model: Path, data: Path, *more: str) -> None:
        folder.mkdir()
        (folder / "space.toml").write_text(SPACE)
        self.folder = folder
        self.command = [
            *(sys.executable, "-W", "error", "-c", "from eicompress.cli import main; main()", "search"),
            *("--model", str(model), "--data", str(data), "--budget", "1MB", "--space", "space.toml"),
            *("--trials", "3", "--promotion-seeds", "1", "--study", "s", *more),
        ]
        own = {"EICOMPRESS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", **OF_RAY}
        self.environment = {**os.environ, **own}

    def start(self) -> "subprocess.Popen[bytes]":
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment, stdout=log, stderr=subprocess.STDOUT
            )

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def result(self) -> Result:
        return eicompress.show("s", studies=self.folder / "studies")


def building(pid: int) -> set[int]:
    """The actors below a process, and what they have started. Agents of Ray's own outlive them for a minute."""
    found: set[int] = set()
    for child in children_of(pid):
        with suppress(FileNotFoundError):
            is_actor = Path(f"/proc/{child}/cmdline").read_text().startswith("ray::Actor")
            found |= {child, *children_of(child)} if is_actor else building(child)
    return found


@pytest.mark.slow
def test_a_search_on_ray_whose_worker_is_killed_ends_where_one_on_this_machine_ends(
    model_folder: Path, data_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    whole = Search(tmp_path / "whole", model_folder, data_folder)
    killed = Search(tmp_path / "killed", model_folder, data_folder, "--engine", "ray")
    assert whole.start().wait() == 0, whole.log()
    process = killed.start()
    try:
        until(lambda: "\ntrial 0: 0." in killed.log())
        started = building(process.pid)
        assert len(started) == 2
        os.kill(min(started), signal.SIGKILL)
        until(lambda: ended(started))
        assert process.wait() == 0, killed.log()
    finally:
        process.kill()
    assert killed.log().count("starts again: its worker on") == 1

    expected, result = whole.result(), killed.result()
    assert result.counts == expected.counts and result.counts.failed == 0
    by_draw = {record.draw: record for record in result.records.values()}
    assert len(by_draw) == len(result.records)
    assert {draw: record.recipe for draw, record in by_draw.items()} == {
        record.draw: record.recipe for record in expected.records.values()
    }
    best, same = result.best_candidate, expected.best_candidate
    assert best is not None and same is not None
    assert best[1].recipe == same[1].recipe
    assert best[1].value("quality") == same[1].value("quality")


@pytest.mark.slow
def test_a_training_that_jobs_share_is_made_on_one_node_and_sent_to_the_other(
    nodes: Nodes, tmp_path: Path, model_folder: Path, data_folder: Path
) -> None:
    plugin = str(Path(shared_weights.__file__))
    spec = read({"model": str(model_folder), "data": str(data_folder), "plugin": plugin})
    (tmp_path / "study").mkdir()
    builder = open_builder(spec, discover(plugin), folder=tmp_path / "here", progress=lambda _: None)
    shared = builder.key(Recipe((shared_weights.Elastic(),)), fidelity=1.0, seed=0)
    setup = Setup(spec.settings, str(tmp_path / "study"), digests=made_of(builder))

    def taken(number: int) -> Job:
        recipe = Recipe((shared_weights.Elastic(), shared_weights.Take(first=number)))
        return Job(number, tuple(recipe.to_json()), 1.0, 0, shared)

    with cluster(nodes, setup) as workers:
        for number in (1, 2):
            workers.submit(taken(number))
        done = [workers.wait(ignore) for _ in range(2)]
        # Both nodes are at work, each with what one of them made.
        for number in (3, 4):
            workers.submit(taken(number))
        done += [workers.wait(ignore) for _ in range(2)]
    # A search that goes on, on nodes that have nothing, gets it from here.
    shutil.rmtree(nodes.other_cache)
    shutil.rmtree(nodes.cache / "candidate")
    with cluster(nodes, setup) as workers:
        workers.submit(taken(5))
        done.append(workers.wait(ignore))
    assert [each.fate for each in done] == ["built"] * 5
    steps = [int(line.split()[1]) for line in nodes.log.read_text().splitlines()]
    assert steps == list(range(30))
