import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from eicompress import cli, runtime
from eicompress.answers import Labels
from eicompress.encoder.tokens import tokenize
from eicompress.errors import DataError, ModelError
from eicompress.export.folder import write
from eicompress.values import Artifact
from tests.conftest import MUSIC, WEATHER, tiny_candidate


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return write(tiny_candidate(), Labels(("music", "weather")), tmp_path / "a", pairs=False, manifest={})


def test_a_prediction_is_the_best_label_with_its_probability(artifact: Artifact) -> None:
    model = runtime.load(artifact.folder)
    texts = [*MUSIC, *WEATHER]
    logits = model.logits(texts)
    odds = np.exp(logits.astype(np.float64))
    for prediction, row in zip(model.predict(texts), odds / odds.sum(axis=1, keepdims=True), strict=True):
        assert prediction.label == model.labels[row.argmax()]
        assert prediction.confidence == pytest.approx(row.max())


def test_several_texts_at_a_time_have_the_same_logits_bit_for_bit(artifact: Artifact) -> None:
    model = runtime.load(artifact.folder)
    texts = ["play " * (1 + place % 7) + "the song" for place in range(40)]
    assert np.array_equal(model.logits(texts, parallel=3), model.logits(texts))
    assert model.predict(texts, parallel=3) == model.predict(texts)
    assert model.choices(texts, 2, parallel=3) == model.choices(texts, 2)


def test_a_text_says_how_much_of_it_is_read(artifact: Artifact) -> None:
    model = runtime.load(artifact.folder)
    # The tiny tokenizer cuts at 20 tokens, of which two stand around a text.
    short, edge, long = model.lengths(["play the song", "rain " * 18, "rain " * 30])
    assert (short.tokens, short.read, short.cut) == (5, 5, False)
    assert (edge.tokens, edge.read, edge.cut) == (20, 20, False)
    assert (long.tokens, long.read, long.cut) == (32, 20, True)
    assert model.lengths([]) == []
    assert model.limit == 20


def test_both_texts_of_a_pair_count(tmp_path: Path) -> None:
    pairs = write(tiny_candidate(), Labels(("music", "weather")), tmp_path / "pairs", pairs=True, manifest={})
    (length,) = runtime.load(pairs.folder).lengths([("rain " * 10, "sun " * 15)])
    assert (length.tokens, length.read) == (10 + 15 + 3, 20)


def test_no_text_gives_no_prediction(artifact: Artifact) -> None:
    model = runtime.load(artifact.folder)
    assert model.predict([]) == []
    assert model.logits([]).shape == (0, 2)
    assert len(model.predict(["", "\0", "日本" * 500])) == 3


@pytest.mark.parametrize("texts", ["one string", [3], [None], [("a", "b", "c")], [("a", "b")]])
def test_what_is_no_text_is_refused(artifact: Artifact, texts: object) -> None:
    with pytest.raises(TypeError, match="must be"):
        runtime.load(artifact.folder).predict(texts)  # type: ignore[arg-type]


def test_a_damaged_file_is_named(artifact: Artifact) -> None:
    data = bytearray(artifact.onnx.read_bytes())
    data[len(data) // 2] ^= 1
    artifact.onnx.write_bytes(bytes(data))
    with pytest.raises(ModelError, match=r"model\.onnx` is damaged: its SHA-256 must be"):
        runtime.load(artifact.folder)
    artifact.onnx.unlink()
    with pytest.raises(ModelError, match=r"model\.onnx` must be there"):
        runtime.load(artifact.folder)


@pytest.mark.parametrize(
    "manifest",
    ["{}", '{"files": null}', '{"files": {}}', '{"files": []}', '{"files": {"config.json": "0"}}', '{"files": 3}'],
)
def test_a_manifest_that_names_no_checksums_checks_nothing_and_is_refused(artifact: Artifact, manifest: str) -> None:
    artifact.manifest.write_text(manifest)
    with pytest.raises(ModelError, match=r"must have the SHA-256 of `\S+` under `files`, but has none"):
        runtime.load(artifact.folder)


def test_without_a_manifest_an_artifact_loads_and_says_it_is_unchecked(artifact: Artifact) -> None:
    assert runtime.load(artifact.folder).checked
    artifact.manifest.unlink()
    assert not runtime.load(artifact.folder).checked


def test_the_manifest_is_found_from_inside_the_folder(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(artifact.folder)
    assert runtime.load(".").checked


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", None, "must be a JSON file"),
        ("config.json", "[]", "must be a JSON object"),
        ("config.json", "{}", "must name the labels"),
        ("config.json", '{"id2label": {"1": "a"}}', "must name the labels"),
        ("tokenizer.json", "{}", "must be a tokenizer"),
        ("onnx/model.onnx", "not a graph", "must be readable by onnxruntime"),
    ],
)
def test_an_unchecked_folder_that_cannot_be_read_says_why(
    artifact: Artifact, name: str, text: str | None, message: str
) -> None:
    artifact.manifest.unlink()
    path = artifact.folder / name
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ModelError, match=message):
        runtime.load(artifact.folder)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="must be a folder, but there is none"):
        runtime.load(tmp_path / "nowhere")


def test_a_lone_surrogate_of_a_file_is_escaped_in_what_is_said_of_it(artifact: Artifact) -> None:
    config = json.loads((artifact.folder / "config.json").read_text())
    (artifact.folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": "\ud800"}))
    artifact.manifest.unlink()
    with pytest.raises(ModelError, match=r"above 0, but is `\\ud800`"):
        runtime.load(artifact.folder)


def test_a_lone_surrogate_is_read_as_an_unknown_character(artifact: Artifact) -> None:
    assert runtime.load(artifact.folder).logits(["play \ud800 music"]).shape == (1, 2)


def hostile(tokenizer: Path) -> None:
    """Let a tokenizer split by a pattern that takes exponential time."""
    described = json.loads(tokenizer.read_text())
    pattern = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    tokenizer.write_text(json.dumps({**described, "pre_tokenizer": pattern}))


def test_a_tokenizer_that_gives_up_is_one_message(artifact: Artifact, capfd: pytest.CaptureFixture[str]) -> None:
    artifact.manifest.unlink()
    hostile(artifact.folder / "tokenizer.json")
    text = "a" * 40 + "b"
    with pytest.raises(ModelError, match="The tokenizer must read `aaa"):
        runtime.load(artifact.folder).predict([text])
    tokenizer = runtime.tokenizer(artifact)
    with pytest.raises(ModelError, match="tokenizer must read every text, but cannot"):
        tokenize(tokenizer, [text])
    assert cli.run(["predict", str(artifact.folder), text]) == 2


def with_external(path: Path, place: str, *, nested: bool = False) -> None:
    """Let a tensor of an ONNX file lie elsewhere: an initializer, or a constant in a subgraph of a node."""
    model = onnx.load(path)
    tensor = onnx.TensorProto(name="elsewhere", data_type=onnx.TensorProto.FLOAT, dims=[2])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    if nested:
        constant = onnx.helper.make_node("Constant", [], ["y"], value=tensor)
        inner = onnx.helper.make_graph([constant], "inner", [], [])
        model.graph.node.append(onnx.helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner))
    else:
        model.graph.initializer.append(tensor)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("place", ["/etc/passwd", "../config.json", "link", "a/../../config.json", "x\0y"])
@pytest.mark.parametrize("nested", [False, True])
def test_weights_from_outside_the_folder_are_refused_before_a_session_is_made(
    artifact: Artifact, place: str, nested: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: pytest.fail("a session was made"))
    artifact.manifest.unlink()
    (artifact.onnx.parent / "link").symlink_to("/etc/passwd")
    with_external(artifact.onnx, place, nested=nested)
    with pytest.raises(ModelError, match="or in files of its own folder, but takes them from"):
        runtime.load(artifact.folder)
    with pytest.raises(ModelError, match="The ONNX graph must have its weights in itself"):
        runtime.session(artifact.onnx.read_bytes())


def test_weights_in_a_file_of_the_folder_are_read(artifact: Artifact) -> None:
    logits = runtime.load(artifact.folder).logits(["play a song"])
    artifact.manifest.unlink()
    model = onnx.load(artifact.onnx)
    onnx.save(model, artifact.onnx, save_as_external_data=True, location="model.onnx_data", size_threshold=64)
    assert b"location" in artifact.onnx.read_bytes()
    np.testing.assert_array_equal(runtime.load(artifact.folder).logits(["play a song"]), logits)


def test_checksums_come_before_anything_else_is_read(artifact: Artifact) -> None:
    with_external(artifact.onnx, "/etc/passwd")
    with pytest.raises(ModelError, match="is damaged: its SHA-256 must be"):
        runtime.load(artifact.folder)


def test_a_text_without_a_token_is_refused(artifact: Artifact) -> None:
    described = json.loads((artifact.folder / "tokenizer.json").read_text())
    del described["post_processor"]
    (artifact.folder / "tokenizer.json").write_text(json.dumps({**described, "post_processor": None}))
    artifact.manifest.unlink()
    model = runtime.load(artifact.folder)
    assert model.predict(["play"])
    with pytest.raises(DataError, match="a text must have a token that the model reads, but `` has none"):
        model.predict(["play", " "])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, "must answer `logits` with 3 floats a text"),
        ({"max_position_embeddings": -5}, "`max_position_embeddings` .* must be a whole number above 0, but is `-5`"),
        ({"max_position_embeddings": "20"}, "`max_position_embeddings` .* must be a whole number above 0"),
        ({"id2label": [1]}, "must name the labels in `id2label`"),
    ],
)
def test_a_config_that_is_not_that_of_the_graph_is_refused(
    artifact: Artifact, changes: dict[str, object], message: str
) -> None:
    path = artifact.folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    artifact.manifest.unlink()
    with pytest.raises(ModelError, match=message):
        runtime.load(artifact.folder)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"id2label": ' + "9" * 5_000 + "}"])
def test_json_that_python_does_not_read_is_refused(artifact: Artifact, text: str) -> None:
    (artifact.folder / "config.json").write_text(text)
    artifact.manifest.unlink()
    with pytest.raises(ModelError, match="must be a JSON file, but cannot be read"):
        runtime.load(artifact.folder)


@pytest.mark.parametrize(
    ("old", "message"), [("logits", "must answer `logits`"), ("input_ids", "must read `input_ids`")]
)
def test_a_graph_without_logits_or_tokens_is_refused(artifact: Artifact, old: str, message: str) -> None:
    graph = onnx.load(artifact.onnx)
    for value in (*graph.graph.input, *graph.graph.output):
        value.name = "other" if value.name == old else value.name
    for node in graph.graph.node:
        node.input[:] = ["other" if each == old else each for each in node.input]
        node.output[:] = ["other" if each == old else each for each in node.output]
    onnx.save(graph, artifact.onnx)
    artifact.manifest.unlink()
    with pytest.raises(ModelError, match=message):
        runtime.load(artifact.folder)


def test_a_tokenizer_that_fails_on_a_text_is_said(artifact: Artifact) -> None:
    described = json.loads((artifact.folder / "tokenizer.json").read_text())
    described["model"]["unk_token"] = "[another]"
    (artifact.folder / "tokenizer.json").write_text(json.dumps(described))
    artifact.manifest.unlink()
    with pytest.raises(ModelError, match="The tokenizer must read `#`, but cannot"):
        runtime.load(artifact.folder).predict(["#"])
