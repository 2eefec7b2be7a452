import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import normalizers
from torch import nn
from transformers import AutoConfig, AutoTokenizer

from eicompress import runtime
from eicompress.answers import Labels
from eicompress.contracts import Candidate, Origin
from eicompress.encoder.model import Encoder
from eicompress.encoder.quantization import QuantSpec
from eicompress.encoder.tokens import tokenize
from eicompress.errors import ExportError
from eicompress.export.folder import bytes_by_group, bytes_by_tensor, copy, graph_of, remove, write
from eicompress.export.parity import check_parity
from eicompress.values import Artifact, Text
from tests.conftest import MUSIC, WEATHER, tiny_candidate, tiny_tokenizer

LABELS = ("music", "wéather")
ANSWER = Labels(LABELS)
PAIRS: list[Text] = [("play the song", "stop"), ("rain", "will it rain today"), ("what is it", "the sun")]
FILES = {"config.json", "tokenizer.json", "tokenizer_config.json", "onnx/model.onnx"}


class Foreign(nn.Module):
    """A module that is no `Encoder`, as a strategy may return one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(100, 8)
        self.types = nn.Embedding(2, 8)
        self.classifier = nn.Linear(8, 2)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        states = (self.embed(ids) + self.types(types)) * mask[..., None]
        logits: torch.Tensor = self.classifier(torch.tanh(states.sum(1)))
        return logits


def foreign() -> Candidate:
    return Candidate(Foreign().eval(), tiny_tokenizer(), Origin((), ()))


def quantized(bits: int = 4) -> Candidate:
    candidate = tiny_candidate()
    assert isinstance(candidate.model, Encoder)
    candidate.model.set_quantization(QuantSpec(bits), QuantSpec(bits))  # type: ignore[arg-type]
    return candidate


def write_to(folder: Path, candidate: Candidate, *, pairs: bool = False) -> Artifact:
    return write(candidate, ANSWER, folder, pairs=pairs, manifest={"recipe": [{"name": "nothing"}]})


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("make", [tiny_candidate, quantized, foreign])
def test_an_artifact_says_what_the_model_says(tmp_path: Path, make: type) -> None:
    candidate = make()
    texts = [*MUSIC, *WEATHER]
    artifact = write_to(tmp_path / "a", candidate)
    parity = check_parity(candidate, texts, runtime.load(artifact.folder).logits(texts), ANSWER)
    assert parity.texts == len(texts)
    assert parity.agreement == 1.0
    assert parity.largest_difference < (0.1 if make is quantized else 1e-4)


@pytest.mark.parametrize("make", [tiny_candidate, quantized, foreign])
def test_pairs_are_distinguished(tmp_path: Path, make: type) -> None:
    candidate = make()
    model = runtime.load(write_to(tmp_path / "a", candidate, pairs=True).folder)
    assert model.pairs
    check_parity(candidate, PAIRS, model.logits(PAIRS), ANSWER)
    swapped = [(second, first) for first, second in PAIRS]
    assert not np.allclose(model.logits(PAIRS), model.logits(swapped), atol=1e-3)


def test_the_folder_holds_what_a_device_needs_and_no_more(tmp_path: Path) -> None:
    artifact = write_to(tmp_path / "deep" / "a", tiny_candidate())
    files = files_of(artifact.folder)
    assert set(files) == FILES
    config = json.loads(files["config.json"])
    assert config["model_type"] == "bert"
    assert config["id2label"] == {"0": "music", "1": "wéather"}
    assert artifact.size_bytes == sum(map(len, files.values()))
    assert [path.name for path in sorted(artifact.folder.parent.iterdir())] == ["a", "a.manifest.json"]


def test_the_manifest_tells_recipe_versions_and_checksums(tmp_path: Path) -> None:
    artifact = write_to(tmp_path / "a", tiny_candidate())
    manifest = json.loads(artifact.manifest.read_text())
    assert manifest["recipe"] == [{"name": "nothing"}]
    assert manifest["versions"]["torch"] == torch.__version__
    assert manifest["files"] == {
        name: hashlib.sha256(data).hexdigest() for name, data in files_of(artifact.folder).items()
    }


@pytest.mark.parametrize("make", [quantized, foreign])
def test_two_exports_of_a_candidate_give_the_same_bytes(tmp_path: Path, make: type) -> None:
    first = write_to(tmp_path / "a", make())
    second = write_to(tmp_path / "b", make())
    assert files_of(first.folder) == files_of(second.folder)
    assert first.manifest.read_bytes() == second.manifest.read_bytes()


def test_writing_again_replaces_the_old_artifact(tmp_path: Path) -> None:
    write_to(tmp_path / "a", tiny_candidate())
    (tmp_path / "a" / "stray").write_text("left over")
    artifact = write_to(tmp_path / "a", tiny_candidate(seed=1))
    assert set(files_of(artifact.folder)) == FILES
    assert runtime.load(artifact.folder).checked
    remove(artifact)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ExportError, match="must be written to"):
        write_to(tmp_path / "file" / "a", tiny_candidate())


def test_a_given_graph_is_written_as_it_is(tmp_path: Path) -> None:
    candidate = tiny_candidate()
    graph = graph_of(candidate, pairs=False)
    graph.doc_string = "edited"
    artifact = write(candidate, ANSWER, tmp_path / "a", pairs=False, manifest={}, graph=graph)
    assert artifact.onnx.read_bytes() == graph.SerializeToString(deterministic=True)


@pytest.mark.parametrize("make", [tiny_candidate, quantized, foreign])
def test_the_bytes_of_all_groups_sum_up_to_the_size(tmp_path: Path, make: type) -> None:
    artifact = write_to(tmp_path / "a", make())
    groups = bytes_by_group(artifact)
    assert sum(groups.values()) == artifact.size_bytes
    assert set(groups) == {"embedding", "layers", "head", "tokenizer", "config", "graph"}
    assert groups["embedding"] > 0
    assert groups["head"] > 0


def test_a_tensor_is_named_by_what_reads_it_its_shape_and_its_type(tmp_path: Path) -> None:
    names = [name for _, name, _ in bytes_by_tensor(write_to(tmp_path / "a", tiny_candidate()))]
    assert any(re.fullmatch(r"Gather \d+ x \d+ float(16)?", name) for name in names), names
    assert not [name for name in names if re.fullmatch(r"[ELH]\d+", name)]


def test_the_tokenizer_is_cut_at_the_positions(tmp_path: Path) -> None:
    candidate = tiny_candidate()
    assert isinstance(candidate.model, Encoder)
    candidate.model.keep_positions(7)
    model = runtime.load(write_to(tmp_path / "a", candidate).folder)
    assert model.tokenizer.truncation["max_length"] == 7
    assert model.logits(["it will " * 50]).shape == (1, 2)


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("pairs", [True, False])
def test_transformers_reads_config_and_tokenizer(tmp_path: Path, pairs: bool, lowercase: bool) -> None:
    candidate = tiny_candidate()
    candidate.tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    artifact = write_to(tmp_path / "a", candidate, pairs=pairs)
    assert AutoConfig.from_pretrained(artifact.folder).id2label == dict(enumerate(LABELS))
    theirs = AutoTokenizer.from_pretrained(artifact.folder)
    ours = runtime.load(artifact.folder).tokenizer
    for texts in [("Play THE song, déjà vu",), ("it " * 50,), *([("Play it", "STOP the Music")] if pairs else [])]:
        got, expected = theirs(*texts, truncation=True), ours.encode(*texts)
        assert got["input_ids"] == expected.ids
        assert not pairs or got["token_type_ids"] == expected.type_ids


def test_disagreement_is_an_error_with_difference_and_tolerance(tmp_path: Path) -> None:
    model = runtime.load(write_to(tmp_path / "a", tiny_candidate()).folder)
    with pytest.raises(ExportError, match=r"must be within \S+ of .* largest difference on 5 texts is"):
        check_parity(tiny_candidate(seed=1), MUSIC, model.logits(MUSIC), ANSWER)
    other = tiny_candidate(seed=1)
    assert isinstance(other.model, Encoder)
    other.model.classifier.weight.data *= -1
    other.model.set_quantization(QuantSpec(8), QuantSpec(8))
    mirrored = tiny_candidate(seed=1)
    model = runtime.load(write_to(tmp_path / "b", mirrored).folder)
    with pytest.raises(ExportError, match=r"the model's answer on 99\.5%"):
        check_parity(other, MUSIC, model.logits(MUSIC), ANSWER)


def test_either_of_two_labels_that_are_nearly_equal_is_right(tmp_path: Path) -> None:
    candidate = tiny_candidate()
    assert isinstance(candidate.model, Encoder)
    head = candidate.model.classifier
    with torch.no_grad():
        head.weight[1] = head.weight[0]
        head.bias[:] = torch.tensor([0.0, 1e-3])
    candidate.model.set_quantization(QuantSpec(8), QuantSpec(8))
    model = runtime.load(write_to(tmp_path / "a", candidate).folder)
    head.bias.data[:] = torch.tensor([1e-3, 0.0])
    assert check_parity(candidate, MUSIC, model.logits(MUSIC), ANSWER).agreement == 1.0
    head.bias.data[:] = torch.tensor([10.0, 0.0])
    with pytest.raises(ExportError, match="the model's answer"):
        check_parity(candidate, MUSIC, model.logits(MUSIC), ANSWER)


def test_one_answer_of_fifty_may_differ_where_the_others_are_the_same_and_not_two_and_none_of_fewer(
    tmp_path: Path,
) -> None:
    candidate = tiny_candidate()
    assert isinstance(candidate.model, Encoder)
    candidate.model.set_quantization(QuantSpec(8), QuantSpec(8))
    candidate.model.round_floats()
    texts = [f"{text} {word}" for text in (*MUSIC, *WEATHER) for word in ("now", "it", "today", "is", "will")]
    logits = runtime.load(write_to(tmp_path / "a", candidate).folder).logits(texts)
    surest = np.argsort(-np.abs(logits[:, 0] - logits[:, 1]))
    logits[surest[0]] *= -1
    assert len(texts) == 50 and check_parity(candidate, texts, logits, ANSWER).agreement == 0.98
    fewer = [row for row in range(50) if row != surest[2]]
    with pytest.raises(ExportError, match="the model's answer"):
        check_parity(candidate, [texts[row] for row in fewer], logits[fewer], ANSWER)
    with pytest.raises(ExportError, match="the model's answer"):
        check_parity(candidate, texts, 1.01 * logits, ANSWER)  # a file whose other answers differ by more than rounding
    logits[surest[1]] *= -1
    with pytest.raises(ExportError, match="the model's answer"):
        check_parity(candidate, texts, logits, ANSWER)


def test_a_module_that_cannot_be_traced_is_named(tmp_path: Path) -> None:
    class Broken(Foreign):
        def forward(self, *_: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no way")

    candidate = Candidate(Broken(), tiny_tokenizer(), Origin((), ()))
    with pytest.raises(ExportError, match=r"`Broken` must be a module .* no way"):
        write_to(tmp_path / "a", candidate)


def test_a_copy_has_the_same_files_and_is_checked(tmp_path: Path) -> None:
    artifact = write(tiny_candidate(), Labels(("music", "weather")), tmp_path / "one", pairs=False, manifest={})
    other = copy(artifact, tmp_path / "far" / "two")
    names = sorted(path.relative_to(artifact.folder) for path in artifact.folder.rglob("*"))
    assert names == sorted(path.relative_to(other.folder) for path in other.folder.rglob("*"))
    assert runtime.load(other.folder).checked


def test_what_is_no_artifact_is_never_overwritten(tmp_path: Path) -> None:
    artifact = write(tiny_candidate(), Labels(("music", "weather")), tmp_path / "one", pairs=False, manifest={})
    precious = tmp_path / "two" / "notes.txt"
    precious.parent.mkdir()
    precious.write_text("keep me")
    with pytest.raises(ExportError, match="must be a new folder or an artifact"):
        copy(artifact, precious.parent)
    assert precious.read_text() == "keep me"


@pytest.mark.parametrize(("scale", "off", "fits"), [(1.0, 5e-5, True), (1.0, 5e-4, False), (1e3, 5e-4, True)])
def test_large_logits_may_differ_by_more(scale: float, off: float, fits: bool) -> None:
    candidate = tiny_candidate()
    classifier = candidate.model.classifier
    with torch.no_grad():
        classifier.weight.mul_(scale)  # type: ignore[operator, union-attr]
    tokens = tokenize(candidate.tokenizer, MUSIC)
    batch = tokens.batch(np.arange(len(MUSIC)), candidate.model.config.padding_id, "cpu")
    with torch.inference_mode():
        logits = candidate.model(batch.input_ids, batch.attention_mask, batch.token_type_ids).numpy() + off
    if fits:
        check_parity(candidate, MUSIC, logits, ANSWER)
    else:
        with pytest.raises(ExportError):
            check_parity(candidate, MUSIC, logits, ANSWER)
