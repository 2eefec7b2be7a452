"""The commands on a tiny real model, from the outside, as a user runs them."""

import json
import re
import shutil
from pathlib import Path

import pytest
from tiny_teachers import write_tiny_teacher

import eicompress
from eicompress import cli
from eicompress.contracts import Candidate, Training
from eicompress.training.trainer import Trainer
from eicompress.values import Artifact

SPACE = """
fidelity = 0.5
rung_steps = 2

[[slot]]
strategy = "vocabulary_pruning"
num_tokens = { fill = true, low = 100, high = 300 }

[[slot]]
strategy = "thin_student"
layers = { low = 1, high = 3 }
neurons = { low = 0.25, high = 1.0 }

[[slot]]
strategy = "quantization"
layer_bits = { choices = [4, 8] }

[[slot]]
strategy = "distillation"
epochs = 2.0
distortions = { low = 0, high = 2 }
"""
AUGMENTED = """[[slot]]
strategy = "augmentation"
copies = 1
unlabelled = 10

[[slot]]
strategy = "distillation\""""
TAIL = """
fidelity = 0.5

[[slot]]
strategy = "thin_student"
layers = { low = 1, high = 3 }

[[slot]]
strategy = "distillation"
epochs = 2.0
distortions = 1

[[slot]]
strategy = "quantization"
embedding_bits = { choices = [4, 8] }
layer_bits = { choices = [2, 4, 8] }
"""
RECIPE = """
[[steps]]
strategy = "thin_student"
layers = 1

[[steps]]
strategy = "quantization"
"""


@pytest.fixture(autouse=True)
def own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A working folder and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EICOMPRESS_CACHE", str(tmp_path / "cache"))
    Path("space.toml").write_text(SPACE)
    Path("recipe.toml").write_text(RECIPE)


def asked(model: Path, data: Path, *more: str) -> list[str]:
    search = ["search", "--model", str(model), "--data", str(data), "--budget", "25KB", "--latency", "1s"]
    return [*search, "--space", "space.toml", "--study", "mine", "--workers", "0", *more]


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_plan_tells_what_a_search_would_meet_and_begins_no_study(
    model_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = asked(model_folder, data_folder, "--timeout", "1h")
    assert cli.run(["plan", *search[1:], "--json"]) == 0
    found = json.loads(shown(capsys))
    assert found["knobs"] == 5
    assert list(found["baselines"]) == ["baseline", "majority class", "static embeddings", "tf-idf"]
    assert found["fitting"] == found["draws"] == 16
    assert found["training_s"] > 0
    assert 0 < found["least"]["size_mb"] < 0.025
    assert not Path("studies").exists()
    assert cli.run(["plan", *search[1:]]) == 0
    printed = shown(capsys)
    assert "16 of 16 random recipes (100%)" in printed and "within budget\n" in printed.partition("tf-idf: ")[2]
    assert printed.index("warning: the baseline model must be better") < printed.index("random recipes")
    assert "of the full training (" in printed and "the best 2 are compared" not in printed
    assert "1:00:00 train about" in printed


@pytest.mark.slow
def test_bits_are_tried_on_one_training_and_recipes_travel_to_another_study(
    model_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = []
    fit = Trainer.__call__

    def counted(self: Trainer, candidate: Candidate, training: Training) -> None:
        trainings.append(self.fidelity)
        fit(self, candidate, training)

    monkeypatch.setattr(Trainer, "__call__", counted)
    Path("tail.toml").write_text(TAIL)
    search = asked(model_folder, data_folder, "--trials", "2", "--workers", "0", "--json")
    search[search.index("space.toml")] = "tail.toml"
    search[search.index("25KB")] = "1MB"
    assert cli.run(search) == 0
    found = json.loads(shown(capsys))
    assert found["counts"]["reached"] == 2
    assert found["counts"]["trained"] == 2
    # Three numbers of bits for the layers and two for the embedding: five others on each training.
    assert found["counts"]["variants"] == 5 + 5
    # Time estimates and rebuilds are at full length, and a rebuild whose prefix is known needs none.
    assert trainings.count(0.5) == 2
    bits = {(each["recipe"][-1]["embedding_bits"], each["recipe"][-1]["layer_bits"]) for each in found["trials"]}
    assert len(bits) == 6

    again = [
        *search[: search.index("--study")],
        "--study",
        "other",
        "--from",
        "mine",
        *search[search.index("--trials") :],
    ]
    again[again.index("2")] = "1"
    assert cli.run(again) == 0
    first = json.loads(shown(capsys))["trials"][0]
    assert first["recipe"] == found["promoted"][0]["recipe"]


def test_a_budget_that_nobody_can_meet_is_refused_by_the_plan(
    model_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = asked(model_folder, data_folder)
    search[search.index("25KB")] = "2KB"
    assert cli.run(["plan", *search[1:]]) == 2
    assert "no candidate of this search space can meet the budget of 0.002 MB" in capsys.readouterr().err


def test_a_search_ends_with_an_artifact_under_budget_that_predicts(
    model_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(asked(model_folder, data_folder, "--trials", "3", "--json")) == 0
    found = json.loads(shown(capsys))
    best = Artifact(Path(found["best"]["files"]["artifact"]))
    assert best.size_bytes <= 25_000 and best.manifest.is_file()
    assert found["counts"]["reached"] == 3
    assert any(each["name"] == "quality_test" for each in found["best"]["measurements"])

    assert cli.run(["predict", str(best.folder), "play the song"]) == 0
    assert shown(capsys).split("\t")[0] in ("music", "weather")

    assert cli.run(asked(model_folder, data_folder, "--trials", "3")) == 0
    printed = shown(capsys)
    assert "finished" in printed and "studies/mine/report.html" in printed
    page = Path("studies/mine/report.html").read_text(encoding="utf-8")
    # On texts as simple as these, counting words is enough.
    assert found["best"]["trial"] == "tf-idf" and found["verdict"] in printed and found["verdict"] in page
    assert "What it gets wrong" in page and "Ship the simple baseline tf-idf" in found["verdict"]
    card = best.card.read_text(encoding="utf-8")
    assert "tf-idf with softmax regression" in card and "Compressed out of" not in card

    assert cli.run(asked(model_folder, data_folder, "--trials", "4", "--json")) == 0
    assert json.loads(shown(capsys))["counts"]["reached"] == 4

    assert cli.run(asked(model_folder, data_folder, "--seed", "1")) == 2
    assert "seed" in capsys.readouterr().err

    assert cli.run(["pick", "mine", "--budget", "1MB", "--output", "picked"]) == 2
    said = capsys.readouterr().err
    assert "no candidate of study `mine` is one" in said and "`eicompress search --space supernet`" in said


@pytest.mark.slow
def test_a_study_with_two_teachers_goes_on_with_the_same_alone(
    model_folder: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [each for kind in ("XLNet", "DebertaV2") for each in ("--teacher", str(tmp_path / kind))]
    for kind in ("XLNet", "DebertaV2"):
        write_tiny_teacher(tmp_path / kind, kind)
    command = asked(model_folder, data_folder, *flags, "--ensemble", "weighted")
    assert cli.run([*command, "--trials", "1"]) == 0
    assert cli.run(["search", "--study", "mine", "--trials", "1"]) == 0
    assert "finished" in shown(capsys)
    assert cli.run([*asked(model_folder, data_folder, *flags[:2], "--ensemble", "weighted"), "--trials", "2"]) == 2
    assert "`teacher` was" in capsys.readouterr().err


@pytest.mark.slow
def test_unlabelled_text_is_part_of_a_study(
    model_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own.txt").write_text("the sun will stop the song. what is it?")
    Path("space.toml").write_text(SPACE.replace('[[slot]]\nstrategy = "distillation"', AUGMENTED))
    command = asked(model_folder, data_folder, "--unlabelled", "own.txt", "--trials", "1")
    assert cli.run([*command, "--json"]) == 0
    best = json.loads(shown(capsys))["promoted"][0]
    assert best["facts"]["augmentation"]["texts"] >= 2
    Path("moved.txt").write_text(Path("own.txt").read_text())
    assert cli.run([each.replace("own.txt", "moved.txt") for each in command]) == 0
    Path("own.txt").write_text("other text")
    assert cli.run(command) == 2
    assert "the contents of the unlabelled text" in capsys.readouterr().err


@pytest.mark.slow
def test_a_trial_is_built_again_byte_for_byte(
    model_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.run(asked(model_folder, data_folder, "--trials", "1"))
    result = eicompress.show("mine")
    assert result.best_candidate is not None
    number, best = result.best_candidate
    monkeypatch.setenv("EICOMPRESS_CACHE", "another-cache")
    assert cli.run(["compress", "--trial", "mine", str(number), "--output", "again"]) == 0
    assert bytes_of(Path("again")) == bytes_of(Path(best.files["artifact"]))


@pytest.mark.slow
def test_a_finished_study_without_its_artifacts_says_so(
    model_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = asked(model_folder, data_folder, "--trials", "1")
    assert cli.run(search) == 0
    Path("elsewhere").mkdir()
    shutil.move("studies/mine", "elsewhere/mine")
    assert cli.run(["show", "mine", "--studies", "elsewhere"]) == 0, "a study that was moved has its artifacts"
    assert "artifact  elsewhere/mine/artifacts/" in shown(capsys)
    shutil.move("elsewhere/mine", "studies/mine")
    shutil.rmtree("studies/mine/artifacts")
    for command in (search, ["show", "mine"], ["show", "mine", "--json"]):
        assert cli.run(command) == 2
        printed, error = capsys.readouterr()
        assert "the artifacts of study `mine` must be in its folder, but some are gone: that of " in error
        assert json.loads(printed)["best"] if "--json" in command else " (gone)" in printed and "predict" not in printed


@pytest.mark.slow
def test_a_trials_ablation_lies_in_its_study(
    model_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.run(asked(model_folder, data_folder, "--trials", "1"))
    (number,) = [number for number, record in eicompress.show("mine").records.items() if record.trained]
    assert cli.run(["ablate", "mine", str(number), "--seeds", "1"]) == 0
    assert "without distillation" in shown(capsys)
    table = json.loads(Path(f"studies/mine/ablation-{number:04d}/table.json").read_text())
    assert table["fidelity"] == 0.5 and len(table["rows"]) == 5
    assert cli.run(["ablate", "mine", "77"]) == 2
    assert "trial 77 does not exist" in capsys.readouterr().err


def test_one_recipe_is_built_without_a_search(
    model_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(model_folder), "--data", str(data_folder), "--recipe", "recipe.toml", "--output", "out"]
    assert cli.run(["compress", *words]) == 0
    assert eicompress.load("out").checked
    shown(capsys)
    assert cli.run(["measure", "out", "--data", str(data_folder), "--seq-len", "8", "--json"]) == 0
    names = {each["name"] for each in json.loads(shown(capsys))["measurements"]}
    assert {"size_mb", "latency_ms", "quality_test"} <= names
    assert cli.run(["measure", "out", "--seq-len", "10000"]) == 2
    assert re.search(r"`--seq-len` must be at most \d+, the artifact's positions", capsys.readouterr().err)


def test_python_speaks_the_same_words(model_folder: Path, data_folder: Path) -> None:
    result = eicompress.search(
        model=str(model_folder),
        data=str(data_folder),
        budget="25KB",
        space="space.toml",
        study="py",
        trials=1,
        workers=0,
    )
    assert result.best is not None
    _, record = result.best
    assert eicompress.load(record.files["artifact"]).predict(["will it rain"])[0].label in ("music", "weather")
    handed_out = [each.name for each in Path(record.files["artifact"]).parent.iterdir()]
    assert all(re.match(r"(trial-\d{4}|tf-idf)", name) for name in handed_out), "what a search keeps lies apart"


def test_an_unreachable_budget_is_said_in_a_moment_and_nothing_is_trained(
    model_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = asked(model_folder, data_folder, "--trials", "1")
    command[command.index("25KB")] = "1KB"
    assert cli.run(command) == 2
    assert "the smallest reachable is" in capsys.readouterr().err
    assert not list(Path("cache").glob("candidate/*"))


def test_a_search_in_which_nothing_fits_leaves_a_report_and_says_where(
    model_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = asked(model_folder, data_folder, "--trials", "2")
    arguments[arguments.index("25KB")] = "1KB"
    assert cli.run(arguments) == 2
    printed = capsys.readouterr()
    assert "no candidate of this search space can meet the budget" in printed.err
    assert "drawn in studies/mine/report.html" in printed.out
    assert "No candidate is within budget" in Path("studies/mine/report.html").read_text(encoding="utf-8")
