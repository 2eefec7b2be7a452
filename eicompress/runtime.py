"""Load an artifact and predict: onnxruntime, tokenizers and numpy, never torch."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Encoding, Tokenizer

from eicompress.answers import Answer, GraphOutput, MultiTask, Part, Prediction, logits_of_outputs, of_config
from eicompress.answers.windows import WindowReader, limit_of, of_windows, places_of
from eicompress.answers.words import first_tokens, padded, words_of
from eicompress.errors import DataError, ModelError, is_panic, shortened
from eicompress.manifest import check_contained, check_files, named, read_object
from eicompress.values import Artifact, ExitRule, Json, Text, counted, readable

EXIT_THRESHOLD = "exit_threshold"
"""The input of a graph with off-ramps that says when a text exits; where it is not given, the file's own counts."""
WHOLE_DEPTH: Mapping[str, npt.NDArray[np.float32]] = MappingProxyType({EXIT_THRESHOLD: np.array(1, np.float32)})
"""With this, no text exits."""
LAYERS = "layers"
"""The output of such a graph that says how many layers were run."""
SHORTEST = 16
"""Tokens that a text is taken to have at least, where an artifact is run at the usual length."""


@dataclass(frozen=True)
class Length:
    """How many tokens a text has, those around it included, and how many of them the model reads."""

    tokens: int
    read: int

    @property
    def cut(self) -> bool:
        return self.read < self.tokens


@dataclass(frozen=True)
class Model:
    """An artifact in memory. Texts are read one by one: padding would change a quantized model's logits."""

    session: onnxruntime.InferenceSession
    tokenizer: Tokenizer
    answer: Answer
    pairs: bool
    """Whether the model reads a first text and a second one."""
    positions: int | None
    """Tokens that the model can read, where its config says so; the tokenizer may cut texts earlier."""
    checked: bool
    """Whether the files were compared with a manifest; False where none lies beside the folder."""
    exits: ExitRule | None = None
    """When a text skips the rest of the layers; None for a model in which every text runs through all."""
    task: Part | None = None
    """The task that is answered alone, of several; None for all of them, or where there is one."""

    @property
    def depends_on_text(self) -> bool:
        """Whether some texts run through fewer layers than others of the same length."""
        return self.exits is not None and self.exits.exits

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self.answer.names

    def of_task(self, name: str) -> "Model":
        """The model for one of its tasks alone, which answers as a model of this task does. Raises `ModelError`."""
        if not isinstance(self.answer, MultiTask):
            raise ModelError(
                f"`--task` must be asked of a model of several tasks, but this one is {self.answer.a_model}: leave it "
                "out"
            )
        part = self.answer.part(name)
        return replace(self, answer=part.answer, pairs=part.pairs, task=part)

    def of_tasks(self, names: Sequence[str]) -> "Model":
        """The model for these of its tasks, in this order; for one alone as `of_task` gives it. Raises `ModelError`."""
        if len(names) == 1 or not isinstance(self.answer, MultiTask):
            return self.of_task(names[0])
        parts = tuple(map(self.answer.part, names))
        return replace(self, answer=MultiTask(parts), pairs=any(each.pairs for each in parts))

    def predict(self, texts: Sequence[Text], *, parallel: int = 1, reject: bool = False) -> list[Prediction]:
        """The answer to each text, or pair of texts: a `LabelPrediction`, or that of another kind of answer.

        `parallel` texts are read at a time, each in a thread of its own; the answers are the same. With `reject`, the
        label of a text is None where it is less sure than `reject_below` in `config.json`.

        Raises as `logits` does, and `ModelError` where the model cannot reject.
        """
        found = self.answer.decode(self.logits(texts, parallel=parallel), texts)
        return [self.answer.rejected(each) for each in found] if reject else list(found)

    def choices(self, texts: Sequence[Text], count: int, *, parallel: int = 1) -> list[Sequence[Prediction]]:
        """For each text its likeliest labels, at most `count`, the likeliest first; its answer where there are no
        labels to rank."""
        return list(self.answer.choices(self.logits(texts, parallel=parallel), texts, count))

    def logits(self, texts: Sequence[Text], *, parallel: int = 1) -> npt.NDArray[np.float32]:
        """(n, outputs), one row for each text or pair of texts; (n, W, outputs) where each word is answered, with zeros
        for one that was not read; (n, 1 + W, outputs) where some tasks answer the text and others its words, with zeros
        at the outputs of the others; (n, 1 + W, 2) of questions, for no answer and each word of the context.

        Raises `TypeError` for anything else, `DataError` for a text without a token, and `ModelError` where the graph
        does not run.
        """
        _check(texts, self.pairs)
        if parallel > 1:
            with ThreadPoolExecutor(parallel) as pool:
                rows = list(pool.map(self._answered, texts))
        else:
            rows = [self._answered(text) for text in texts]
        if self.answer.per_word:
            return padded(rows) if rows else np.zeros((0, 0, self.answer.outputs), np.float32)
        return np.stack(rows) if rows else np.zeros((0, self.answer.outputs), np.float32)

    def _answered(self, text: Text) -> npt.NDArray[np.float32]:
        """(outputs,), (words, outputs) or (1 + words, outputs) of one text."""
        windows = self._windows(text)
        rows = [self._row(text, self._feed(each)) for each in windows]
        if not self.answer.per_word:
            return rows[0]
        if not self.answer.windowed:
            words = words_of(readable(text)) if isinstance(text, str) else []
            first = np.array(first_tokens(windows[0].offsets, words), np.int64)
            before = len(rows[0]) - len(windows[0].ids)  # the row of the text, where it has one
            of_words = np.where((first >= 0)[:, None], rows[0][first.clip(min=0) + before], np.float32(0))
            return np.concatenate([rows[0][:before], of_words])
        places = places_of(words_of(readable(text[1])), windows)
        return of_windows(rows, places, [0] * len(rows)).astype(np.float32)

    def _windows(self, text: Text) -> list[Encoding]:
        """The text as it is read: at once, or a long context in windows."""
        if self.answer.windowed and not isinstance(text, str):
            return self._reader.read([text])[0]
        return [self._encoded(self.tokenizer, text)]

    @cached_property
    def _reader(self) -> WindowReader:
        return WindowReader(self.tokenizer, self.limit)

    def _row(self, text: Text, feed: Mapping[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
        """(outputs,), (tokens, outputs) or (1 + tokens, outputs) of one text; tf-idf may answer one without a token."""
        empty = f"a text must have a token that the model reads, but {shortened(str(text))} has none"
        silent = not feed["input_ids"].size
        outputs = self._outputs
        try:
            parts: list[npt.NDArray[np.float32]] = self.session.run([*outputs], dict(feed))
        except Exception as error:  # onnxruntime raises a class of its own for each status
            raise (DataError(empty) if silent else ModelError(_not_run(str(error)))) from error
        tokens = feed["input_ids"].shape[1]
        for (name, output), part in zip(outputs.items(), parts, strict=True):
            if part.shape != output.shape(1, tokens) or not np.isfinite(part).all():
                why = f"its `{name}` have the shape {part.shape}, or are not finite"
                raise DataError(empty) if silent else ModelError(_not_run(why))
        row: npt.NDArray[np.float32] = logits_of_outputs([*outputs.values()], parts)
        return row

    @property
    def _outputs(self) -> Mapping[str, GraphOutput]:
        """The outputs of the graph that are asked for."""
        if self.task is None:
            return self.answer.graph_outputs
        return {self.task.output: GraphOutput(self.answer.outputs, self.answer.per_word)}

    def layers(self, texts: Sequence[Text]) -> npt.NDArray[np.int64]:
        """(n,) how many layers each text runs through, in a model with off-ramps."""
        return np.array([int(self.session.run([LAYERS], feed)[0]) for feed in self.feeds(texts)], np.int64)

    def lengths(self, texts: Sequence[Text]) -> list[Length]:
        """How long each text is, and how much of it is read: what is longer than the model's positions is cut, unless
        it is read in windows."""
        _check(texts, self.pairs)
        found = []
        for text in texts:
            read = len(self._encoded(self.tokenizer, text).ids)
            whole = self.limit is None or read < self.limit
            length = read if whole else len(self._encoded(self._uncut, text).ids)
            found.append(Length(length, length if self.answer.windowed else read))
        return found

    @property
    def limit(self) -> int | None:
        """Tokens after which a text is cut; None where it never is."""
        return limit_of(self.tokenizer)

    @cached_property
    def _uncut(self) -> Tokenizer:
        copied = Tokenizer.from_str(self.tokenizer.to_str())
        copied.no_truncation()
        return copied

    def _encoded(self, tokenizer: Tokenizer, text: Text) -> Encoding:
        first, second = (text, None) if isinstance(text, str) else text
        try:
            return tokenizer.encode(readable(first), None if second is None else readable(second))
        except BaseException as error:  # the library raises nothing narrower
            if not (isinstance(error, Exception) or is_panic(error)):
                raise
            raise ModelError(f"The tokenizer must read {shortened(first)}, but cannot: {error}.") from error

    def feeds(self, texts: Sequence[Text]) -> Iterator[dict[str, npt.NDArray[np.int64]]]:
        """What the session is given for each text, at batch 1; of a long context the first window alone."""
        for text in texts:
            yield self._feed(self._windows(text)[0])

    def _feed(self, encoding: Encoding) -> dict[str, npt.NDArray[np.int64]]:
        feed = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask}
        if any(each.name == "token_type_ids" for each in self.session.get_inputs()):
            feed["token_type_ids"] = encoding.type_ids
        return {name: np.array([values], np.int64) for name, values in feed.items()}


def usual_length(tokenizer: Tokenizer, texts: Sequence[Text]) -> int:
    """Tokens that 95 % of the texts do not exceed under this tokenizer, and 16 at least."""
    lengths = [len(each.ids) for each in tokenizer.encode_batch_fast(list(texts))]
    return max(SHORTEST, int(np.ceil(np.percentile(lengths, 95))))


def load(folder: str | Path, *, threads: int = 1) -> Model:
    """The model in a folder, its files checked against the manifest beside it. Raises `ModelError`."""
    artifact = Artifact(Path(os.path.abspath(folder)))
    if not artifact.folder.is_dir():
        raise ModelError(f"The artifact `{folder}` must be a folder, but there is none of this name.")
    checked = artifact.manifest.is_file()
    if not (checked or artifact.onnx.is_file()):
        raise ModelError(
            f"The artifact `{folder}` must be a folder that `search`, `compress` or `pick` has written, but has no "
            f"`{artifact.onnx.relative_to(artifact.folder)}`: check its name."
        )
    if checked:
        check_files(artifact)
    config = read_object(artifact.folder / "config.json")
    answer = of_config(config)
    if answer is None:
        raise ModelError(f"`{artifact.folder / 'config.json'}` must name the labels in `id2label`, but does not.")
    opened = session(artifact.onnx, threads=threads)
    _check_graph(artifact, opened, answer)
    return Model(
        session=opened,
        tokenizer=tokenizer(artifact),
        answer=answer,
        pairs=bool(config.get("pairs", False)),
        positions=_positions(artifact, config),
        checked=checked,
        exits=_exits(artifact, config, opened),
    )


def has_exits(artifact: Artifact) -> bool:
    """Whether an artifact has off-ramps, by its config. Raises `ModelError`."""
    return "early_exit" in read_object(artifact.folder / "config.json")


def _exits(artifact: Artifact, config: Json, opened: onnxruntime.InferenceSession) -> ExitRule | None:
    known = config.get("early_exit")
    if known is None:
        return None
    named = {each.name for each in (*opened.get_outputs(), *opened.get_overridable_initializers())}
    if not {LAYERS, EXIT_THRESHOLD} <= named:
        raise ModelError(
            f"`{artifact.onnx}` must have the off-ramps that `early_exit` in its config names, but has none."
        )
    try:
        return ExitRule.from_json(known)
    except ValueError as error:
        raise ModelError(
            f"`early_exit` in `{artifact.folder / 'config.json'}` {error}: copy the artifact again."
        ) from error


def positions(artifact: Artifact) -> int | None:
    """Tokens that an artifact can read, where its config says so. Raises `ModelError`."""
    return _positions(artifact, read_object(artifact.folder / "config.json"))


def _positions(artifact: Artifact, config: Json) -> int | None:
    found = config.get("max_position_embeddings")
    if found is None or (isinstance(found, int) and not isinstance(found, bool) and found > 0):
        return found
    raise ModelError(
        f"`max_position_embeddings` in `{artifact.folder / 'config.json'}` must be a whole number above 0, but is "
        f"{shortened(str(found))}: copy the artifact again."
    )


def _check_graph(artifact: Artifact, opened: onnxruntime.InferenceSession, answer: Answer) -> None:
    """Raise `ModelError` unless a graph reads what `Model.feeds` gives, and answers each output that is named."""
    reads = {each.name: each.type for each in opened.get_inputs()}
    answers = {each.name: (each.type, each.shape) for each in opened.get_outputs()}
    must = {name: "tensor(int64)" for name in ("input_ids", "attention_mask")}
    if {name: kind for name, kind in reads.items() if name != "token_type_ids"} != must:
        came = ", ".join(f"{name} {kind}" for name, kind in reads.items()) or "nothing"
        raise ModelError(f"`{artifact.onnx}` must read `input_ids` and `attention_mask` as int64, but reads {came}.")
    for name, output in answer.graph_outputs.items():
        kind, shape = answers.get(name, ("none", []))
        fits = kind == "tensor(float)" and len(shape) == len(output.shape(1, 1))
        if not fits or not (output.width in (None, shape[-1]) or not isinstance(shape[-1], int)):
            floats = f"{counted(output.width or 1, 'float')} a {'token' if output.per_token else 'text'}"
            raise ModelError(
                f"`{artifact.onnx}` must answer `{name}` with {floats}, as many as `config.json` names, but has {kind} "
                f"{shape}."
            )


def _not_run(why: str) -> str:
    return f"the artifact's graph must answer every text, but does not: {why.splitlines()[0][:300]}"


def session(model: Path | bytes, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """An ONNX file, or the bytes of one, on the CPU with this many threads. Raises `ModelError`."""
    check_contained(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a class of its own for each status
        raise ModelError(f"{named(model)} must be readable by onnxruntime, but is not: {error}") from error


def _check(texts: Sequence[Text], pairs: bool) -> None:
    if isinstance(texts, str):
        raise TypeError("`texts` must be a list of strings, but is one string; put it into a list.")
    for row, text in enumerate(texts):
        both = isinstance(text, tuple) and len(text) == 2 and all(isinstance(each, str) for each in text)
        if not isinstance(text, str) and not both:
            raise TypeError(f"Text {row} must be a string or a pair of strings, but is {text!r}.")
        if both and not pairs:
            raise TypeError(f"Text {row} must be one string, since this model reads no pairs, but is {text!r}.")


def tokenizer(artifact: Artifact) -> Tokenizer:
    """The tokenizer of an artifact. Raises `ModelError`."""
    path = artifact.folder / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(path))
    except BaseException as error:  # the library raises nothing narrower
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        raise ModelError(f"`{path}` must be a tokenizer, but cannot be read: {error}") from error
