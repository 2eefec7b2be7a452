"""How well vectors find what belongs together: questions their paragraph, and texts others of their label.

    python studies/embedding/retrieval.py --squad squad --labelled clinc150 --output results/retrieval --words
    python studies/embedding/retrieval.py --squad squad --labelled clinc150 --output results/retrieval \\
        --artifact student=my-artifact --cuts 192,96 --int8
    python studies/embedding/retrieval.py --output results/retrieval --table

Retrieval: each validation question against the paragraphs of both splits, of which one is right; recall@1 and nDCG@10.
An equal score counts as a better one. kNN: each validation text of a labelled set gets the label of most of its ten
nearest training texts, the nearest deciding between equals. Spearman: the order of the cosines of pairs of labelled
validation texts against that of `--model`, the baseline. No test split is read.

`--words` measures tf-idf and BM25 (Robertson's, k1 1.2, b 0.75), `--baseline` the model that artifacts are made of, and
`--static` model2vec 0.8.0 in 8 bits at three widths, without clusters of its vocabulary. Each writes a record, and
`--table` prints the table of all records.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pairs import drawn
from scipy import sparse
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

import eicompress
from eicompress.answers import Vector
from eicompress.answers.vector import eight_bits, first
from eicompress.cache import write_whole
from eicompress.training.teacher import answers_of
from eicompress.trials.inputs import model_folder, read_model
from eicompress.values import MEGABYTE, Artifact

Floats = npt.NDArray[np.float32]
Scores = Callable[[Sequence[str], Sequence[str]], npt.NDArray[Any]]
"""(queries, documents) how alike they are, of queries and documents."""
Change: TypeAlias = Callable[[Floats], npt.NDArray[Any]]

NEIGHBOURS = 10
PAIRS = 3000
K1, B = 1.2, 0.75
WORD = r"(?u)\b\w+\b"
STATIC = (256, 64, 16)
"""Dimensions of model2vec's vectors; with the last, MiniLM's whole vocabulary takes 1.2 MB."""
STATIC_FILES = ("model.safetensors", "tokenizer.json", "config.json")
COLUMNS = {"recall_1": "recall@1", "ndcg_10": "nDCG@10", "knn": "kNN accuracy", "spearman": "Spearman"}


@dataclass(frozen=True)
class Texts:
    """What is searched, and by what."""

    questions: Sequence[str]
    paragraphs: Sequence[str]
    right: npt.NDArray[np.int64]
    """(questions,) the place of its paragraph."""
    known: Sequence[str]
    known_labels: npt.NDArray[Any]
    asked: Sequence[str]
    asked_labels: npt.NDArray[Any]


def read(squad: Path, labelled: Path) -> Texts:
    """Both sets. A paragraph of several questions is there once."""
    rows = {split: lines(squad / f"{split}.jsonl") for split in ("train", "validation")}
    paragraphs = dict.fromkeys(row["context"] for each in rows.values() for row in each)
    places = {text: at for at, text in enumerate(paragraphs)}
    known, asked = (lines(labelled / f"{split}.jsonl") for split in ("train", "validation"))
    return Texts(
        [row["question"] for row in rows["validation"]],
        list(places),
        np.array([places[row["context"]] for row in rows["validation"]]),
        [row["text"] for row in known],
        np.array([row["label"] for row in known]),
        [row["text"] for row in asked],
        np.array([row["label"] for row in asked]),
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def retrieval(scores: npt.NDArray[Any], right: npt.NDArray[np.int64]) -> dict[str, float]:
    """recall@1 and nDCG@10 of scores (questions, paragraphs)."""
    own = scores[np.arange(len(right)), right][:, None]
    ranks = (scores >= own).sum(axis=1)
    gains = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0)
    return {"recall_1": float((ranks == 1).mean()), "ndcg_10": float(gains.mean())}


def neighbours(scores: npt.NDArray[Any], known: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
    """The accuracy of the label that most of the nearest texts have, from scores (asked, known)."""
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :NEIGHBOURS]
    found = []
    for row in known[nearest]:
        names, begins, counts = np.unique(row, return_index=True, return_counts=True)
        found.append(names[np.lexsort((begins, -counts))[0]])
    return float((np.array(found) == wanted).mean())


def cosines(vectors: Callable[[Sequence[str]], Floats], change: Change) -> Scores:
    return lambda queries, documents: first(change(vectors(queries))) @ first(change(vectors(documents))).T


def tf_idf(queries: Sequence[str], documents: Sequence[str]) -> npt.NDArray[Any]:
    words = TfidfVectorizer(token_pattern=WORD, sublinear_tf=True)
    found = words.fit_transform(documents)
    scores: npt.NDArray[Any] = (words.transform(queries) @ found.T).toarray()
    return scores


def bm25(queries: Sequence[str], documents: Sequence[str]) -> npt.NDArray[Any]:
    words = CountVectorizer(token_pattern=WORD)
    counts = words.fit_transform(documents).astype(np.float64).tocsr()
    lengths = np.asarray(counts.sum(axis=1)).ravel()
    has = np.asarray((counts > 0).sum(axis=0)).ravel()
    idf = np.log(1 + (len(documents) - has + 0.5) / (has + 0.5))
    owners = np.repeat(np.arange(len(documents)), np.diff(counts.indptr))
    damped = counts.data + K1 * (1 - B + B * lengths[owners] / lengths.mean())
    weights = sparse.csr_matrix(
        (idf[counts.indices] * counts.data * (K1 + 1) / damped, counts.indices, counts.indptr), counts.shape
    )
    scores: npt.NDArray[Any] = (words.transform(queries) @ weights.T).toarray()
    return scores


def measured(name: str, size_mb: float | None, scores: Scores, texts: Texts) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "size_mb": size_mb}
    found |= retrieval(scores(texts.questions, texts.paragraphs), texts.right)
    found["knn"] = neighbours(scores(texts.asked, texts.known), texts.known_labels, texts.asked_labels)
    return found


class Embedded:
    """A model's vectors of all texts, each list computed once."""

    def __init__(self, vectors: Callable[[Sequence[str]], Floats]) -> None:
        self.vectors, self.kept = vectors, dict[int, Floats]()

    def __call__(self, texts: Sequence[str]) -> Floats:
        if id(texts) not in self.kept:
            self.kept[id(texts)] = np.asarray(self.vectors(texts), np.float32)
        return self.kept[id(texts)]


def forms(cuts: Sequence[int], int8: bool) -> dict[str, Change]:
    """Vectors as they are, cut, and in eight bits, by what is added to a model's name."""
    cut: dict[str, Change] = {f", {each} dimensions": partial(first, dimensions=each) for each in cuts}
    return {"": first, **cut, **({", int8": eight_bits} if int8 else {})}


def of_model(
    name: str, size_mb: float, vectors: Embedded, texts: Texts, output: Path, ways: Mapping[str, Change]
) -> list[dict[str, Any]]:
    """A record for each form of a model's vectors."""
    wanted, records = of_pairs(first(np.load(output / "baseline.npy")), texts), []
    for way, change in ways.items():
        found = measured(name + way, size_mb, cosines(vectors, change), texts)
        own = of_pairs(first(change(vectors(texts.asked))), texts)
        records.append({**found, "spearman": float(spearmanr(own, wanted).statistic)})
    return records


def of_pairs(vectors: Floats, texts: Texts) -> npt.NDArray[Any]:
    """The cosines of pairs of labelled validation texts, half of which have one label."""
    pairs = drawn([{"label": label} for label in texts.asked_labels], PAIRS, 0)
    found: npt.NDArray[Any] = (vectors[pairs[:, 0]] * vectors[pairs[:, 1]]).sum(axis=1)
    return found


def static(texts: Texts, model: str, output: Path) -> list[dict[str, Any]]:
    """model2vec, whose vectors of all tokens are made once and kept in the output."""
    from model2vec import StaticModel

    whole, records = output / "model2vec", []
    if not whole.is_dir():
        distilled(model_folder(model)).save_pretrained(whole)
    for dimensions in STATIC:
        found = StaticModel.from_pretrained(whole, dimensionality=dimensions, quantize_to="int8")
        with tempfile.TemporaryDirectory() as scratch:
            found.save_pretrained(scratch)
            size = sum((Path(scratch) / each).stat().st_size for each in STATIC_FILES) / MEGABYTE
        name = f"model2vec, {dimensions} dimensions"
        records += of_model(name, size, Embedded(found.encode), texts, output, forms((), False))
    return records


def distilled(source: Path) -> Any:
    from model2vec.distill import distill_from_model
    from transformers import AutoModel, AutoTokenizer

    return distill_from_model(AutoModel.from_pretrained(source), AutoTokenizer.from_pretrained(source), pca_dims=256)


def table(output: Path) -> str:
    """All records, the best first."""
    records = [each for path in sorted(output.glob("*.json")) for each in json.loads(path.read_bytes())]
    rows = ["| | MB | " + " | ".join(COLUMNS.values()) + " |", "|---" * (2 + len(COLUMNS)) + "|"]
    for each in sorted(records, key=lambda each: -each["ndcg_10"]):
        size = "" if each["size_mb"] is None else f"{each['size_mb']:.3f}"
        shown = [f"{each[name]:.3f}" if name in each else "" for name in COLUMNS]
        rows.append(f"| {each['name']} | {size} | {' | '.join(shown)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--squad", type=Path)
    parser.add_argument("--labelled", type=Path)
    parser.add_argument("--model", default="builtin:minilm")
    parser.add_argument("--artifact", metavar="NAME=FOLDER", action="append", default=[])
    parser.add_argument("--cuts", type=lambda text: [int(each) for each in text.split(",")], default=[])
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--words", action="store_true")
    parser.add_argument("--baseline", action="store_true", help="before any artifact, whose pairs it judges")
    parser.add_argument("--static", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)

    def write(name: str, records: list[dict[str, Any]]) -> None:
        write_whole(asked.output / f"{name}.json", json.dumps(records, indent=1).encode())
        print(json.dumps(records), flush=True)

    ways = forms(asked.cuts, asked.int8)
    texts = None if asked.table else read(asked.squad, asked.labelled)
    if texts is not None and asked.words:
        write("words", [measured("tf-idf", None, tf_idf, texts), measured("BM25", None, bm25, texts)])
    if texts is not None and asked.baseline:
        source = read_model(model_folder(asked.model), Vector()).candidate
        embedded = Embedded(lambda each: answers_of(source, each, "cpu")[0].astype(np.float32))
        np.save(asked.output / "baseline.npy", embedded(texts.asked))
        size = sum(each.numel() * each.element_size() for each in source.model.parameters()) / MEGABYTE
        write("baseline", of_model("baseline", size, embedded, texts, asked.output, ways))
    for name, folder in (each.split("=", 1) for each in asked.artifact if texts is not None):
        assert texts is not None
        embedded = Embedded(eicompress.load(folder).logits)
        write(name, of_model(name, Artifact(Path(folder)).size_mb, embedded, texts, asked.output, ways))
    if texts is not None and asked.static:
        write("model2vec", static(texts, asked.model, asked.output))
    if asked.table:
        print(table(asked.output))


if __name__ == "__main__":
    main()
