"""Where recipes become measured artifacts: all that is built for one baseline, data set and seed."""

import copy
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from eicompress import runtime
from eicompress.cache import Cache, default_folder, write_whole
from eicompress.contracts import Array, Candidate, Context, Examples, Fit, GraphStrategy, Task
from eicompress.data.corpus import UnlabelledText, withheld
from eicompress.encoder.device import computes_with, multiplies_bfloat16, own_device
from eicompress.encoder.model import Encoder
from eicompress.errors import EicompressError, Inapplicable
from eicompress.export import folder as artifacts
from eicompress.export.parity import check_parity
from eicompress.metrics import bench
from eicompress.metrics.latency import CAREFUL_SECONDS, QUICK_SECONDS, machine, usual_length
from eicompress.metrics.profile import milliseconds_by_operator
from eicompress.plugins import Registry
from eicompress.recipe import Recipe
from eicompress.spec import TEACHER_TIMEOUT
from eicompress.training.teacher import Ensemble, StoredTeacher, answers_of, ignore
from eicompress.training.trainer import Checkpoints, Trainer, fit_nothing
from eicompress.trials import candidate as candidates
from eicompress.trials.baselines import (
    MAJORITY,
    STATIC,
    TFIDF,
    Static,
    bounded,
    has_one_label,
    majority,
    static_regression,
)
from eicompress.trials.code import MAKING, MEASURING, code_version, own_code
from eicompress.trials.inputs import (
    how_taught,
    model_folder,
    opened_teacher_search,
    read_data,
    read_model,
    read_start,
    who_teaches,
    with_teacher,
)
from eicompress.trials.taught import Attempt, Taught, read_taught
from eicompress.trials.tfidf import fit_tfidf
from eicompress.trials.training_time import Rehearsal, count_steps, rehearse
from eicompress.values import SIMPLE, Artifact, Json, Measurement, Progress, Record, digest_of

PROMOTED_LENGTHS = (16, 64, 128)
"""Tokens; a longer one than a model has positions for is taken, and named, at what it has."""
BUILDS = "builds"
"""The folder for what a search keeps for itself, by key; what is handed out lies apart from it."""
PACKAGES = ("eicompress", "numpy", "onnx", "onnxruntime", "optuna", "tokenizers", "torch")


@dataclass(frozen=True)
class Workshop:
    """Builds and measures recipes. Its baseline is the fine-tuned model, which is also the teacher if no other is."""

    registry: Registry
    task: Task
    examples: Mapping[str, Examples]
    source: Candidate
    """The baseline: never changed, each build starts from a copy of it."""
    digest: str
    """Names the baseline's weights and tokenizer, and the data."""
    teacher: StoredTeacher | Ensemble
    """Whom students learn from."""
    unlabelled: UnlabelledText
    start: Candidate
    """What every recipe starts from: the baseline, or what another study prepared of it."""
    start_digest: str
    cache: Cache
    folder: Path
    """Artifacts and predictions are written under it."""
    seed: int
    device: str = "cpu"
    threads: int = 1
    seq_len: int | None = None
    quiet: Callable[[], AbstractContextManager[None]] = nullcontext
    """What is entered while a latency is taken, so that nothing else of ours runs."""
    head: Path | None = None
    """The folder of the baseline, where its head was trained first."""
    memory: bool = False
    """Whether memory is measured in previews, since a budget speaks of it; otherwise of what is promoted alone."""
    notes: tuple[str, ...] = ()
    """What was done to data and model before any recipe, for the user to read."""
    _memory: dict[str, Mapping[str, Array]] = field(default_factory=dict, init=False, repr=False)

    @property
    def digests(self) -> dict[str, str]:
        """What all that is built here depends on, by what a study calls it."""
        return {
            "inputs": self.digest,
            "teachers": self.teacher.digest,
            "unlabelled": self.unlabelled.digest,
            "start": self.start_digest,
        }

    def key(self, recipe: Recipe, *, fidelity: float, seed: int) -> str:
        """The reuse key of what a recipe makes: baseline, data, recipe, seed, fidelity, code and device."""
        return digest_of(self._made_from(recipe, fidelity, seed))

    def baseline(self) -> Record:
        """The baseline's own size, latency and quality, measured like a candidate's, with what a report needs: a file
        of the validation split's texts and targets."""
        record = self._measured_baseline()
        return replace(record, files={**record.files, "validation_examples": self._kept_examples()})

    def simple(self, size_mb: float | None) -> dict[str, Record]:
        """What simple baselines reach on the validation split, by their names; none unless a text has one label.

        That of tf-idf is an artifact of no more than so many megabytes, and measured like a candidate's.
        """
        if not has_one_label(self.examples["train"]):
            return {}
        key = ["simple", self._inputs, self.seed]
        return {
            MAJORITY: self._remembered([*key, MAJORITY], self._measure_majority),
            STATIC: self._remembered([*key, STATIC], self._measure_static),
            TFIDF: self._remembered([*key, TFIDF, size_mb, self.memory], lambda: self._measure_tfidf(size_mb)),
        }

    def preview(self, recipe: Recipe, *, size_only: bool = False) -> Record:
        """What the recipe would make, measured without training: size, zipped size and latency, or `size_mb` alone.

        Raises `Inapplicable`.
        """
        key = ["preview", self._made_from(recipe, 0.0, self.seed), size_only, self.memory]
        return self._remembered(key, lambda: self._measure_preview(recipe, size_only))

    def rehearse(self, recipe: Recipe) -> Rehearsal:
        """What the recipe's training at full length would take. Raises `Inapplicable`."""
        candidate = replace(self.start, model=copy.deepcopy(self.start.model))
        return rehearse(recipe, candidate, self._context(Trainer(self.seed, 1.0, self.device, ignore)))

    def count_steps(self, recipe: Recipe) -> int:
        """Steps of the recipe's trainings at full length; nothing is trained. Raises `Inapplicable`."""
        candidate = replace(self.start, model=copy.deepcopy(self.start.model))
        return count_steps(recipe, candidate, self._context(Trainer(self.seed, 1.0, self.device, ignore)))

    def build(self, recipe: Recipe, *, fidelity: float, seed: int, progress: Callable[[Progress], None]) -> Record:
        """Train, export, check and score, on any machine: no latency is taken.

        The artifact's folder is `record.files["artifact"]`.
        """
        clock = Clock()
        key = self.key(recipe, fidelity=fidelity, seed=seed)
        context = self._training_context(recipe, fidelity, seed, progress)
        with clock.phase("training"):
            made = self._made(recipe, context, fidelity)
        progress(Progress("export"))
        with clock.phase("export"):
            artifact = self._write(recipe, made, context, self.folder / BUILDS / key)
        progress(Progress("measuring"))
        record = self._scored(recipe, made, artifact, clock)
        return replace(record, key=key, fidelity=fidelity, seed=seed, trained=True)

    def prepare(self, recipe: Recipe, folder: Path, *, progress: Callable[[Progress], None]) -> None:
        """Train a candidate at full length and write it to a new folder, as a starting point for other studies."""
        made = self._made(recipe, self._training_context(recipe, 1.0, self.seed, progress), 1.0)
        if not isinstance(made.model, Encoder):
            raise Inapplicable(
                f"a starting point must be an encoder, but the recipe made a {type(made.model).__name__}"
            )
        write_folder(folder, lambda into: candidates.save(made, into))

    def _training_context(
        self, recipe: Recipe, fidelity: float, seed: int, progress: Callable[[Progress], None]
    ) -> Context:
        checkpoints = Checkpoints(self.cache, self.key(recipe, fidelity=fidelity, seed=seed))
        return self._context(Trainer(seed, fidelity, self.device, progress, checkpoints), seed=seed, progress=progress)

    def _made(self, recipe: Recipe, context: Context, fidelity: float) -> Candidate:
        def key(prefix: Recipe) -> object:
            return self._made_from(prefix, fidelity, context.seed)

        return candidates.build(recipe, context, self.cache, key, self.start)

    def scored(self, recipe: Recipe, *, fidelity: float, seed: int, progress: Callable[[Progress], None]) -> Record:
        """As `build`, remembered, and without the artifact: for those who want to know how good a recipe is."""

        def build() -> Record:
            record = self.build(recipe, fidelity=fidelity, seed=seed, progress=progress)
            artifacts.remove(Artifact(Path(record.files["artifact"])))
            return replace(record, files={name: file for name, file in record.files.items() if name != "artifact"})

        return self._remembered(["scored", self.key(recipe, fidelity=fidelity, seed=seed)], build)

    def timed(self, record: Record) -> Record:
        """The record with the latency of its artifact, taken here and with care."""
        return self._timed(record, self._bench)

    def promote_extras(self, record: Record) -> Record:
        """The record with what is measured of a promoted artifact alone: the test split, and more lengths."""
        artifact = Artifact(Path(record.files["artifact"]))
        model = self._bench.load(artifact)
        qualities, logits = bench.quality(model, self.task, {"test": self.examples["test"]})
        latencies = tuple(
            replace(each, name=f"{each.name}_at_{length}")
            for length in sorted({min(length, model.positions or length) for length in PROMOTED_LENGTHS})
            for each in self._bench.latency(model, seconds=CAREFUL_SECONDS, seq_len=length).measurements()
        )
        memory = () if self.memory else self._bench.memory(artifact)
        files = {**record.files, **self._kept_logits(logits)}
        facts = {**record.facts, "baseline": {"quality_test": self._baseline_on_test()}, **self._anatomy(record, model)}
        facts["cut"] = self._cut(model)
        measurements = (*record.measurements, *qualities, *latencies, *memory)
        return replace(record, measurements=measurements, facts=facts, files=files)

    def _cut(self, model: runtime.Model) -> Json:
        """How many of the validation texts are longer than the model reads, and after how many tokens they are cut."""
        lengths = model.lengths(self.examples["validation"].texts)
        return {"texts": sum(each.cut for each in lengths), "of": len(lengths), "tokens": model.limit}

    def _anatomy(self, record: Record, model: runtime.Model) -> dict[str, Json]:
        """Where bytes and milliseconds go: `tensors`, `operators`, and `steps`, the bytes after each step so far."""
        artifact = Artifact(Path(record.files["artifact"]))
        length = usual_length(model.tokenizer, self.examples["validation"].texts)
        steps = self.registry.recipe(record.recipe).steps
        return {
            "tensors": {"largest": artifacts.bytes_by_tensor(artifact)},
            "operators": {"ms": milliseconds_by_operator(artifact, length), "sequence_length": length},
            "steps": {"mb": [self._previewed_mb(Recipe(steps[: count + 1])) for count in range(len(steps))]},
        }

    def _previewed_mb(self, recipe: Recipe) -> float | None:
        try:
            return self.preview(recipe, size_only=True).value("size_mb")
        except EicompressError:
            # The beginning of a recipe need not be one that stands alone.
            return None

    @cached_property
    def _bench(self) -> bench.Bench:
        reference = runtime.load(self._measured_baseline().files["artifact"], threads=self.threads)
        return replace(self._bench_alone, reference=reference)

    @property
    def _bench_alone(self) -> bench.Bench:
        return bench.Bench(self.examples["validation"].texts, self.threads, self.seq_len, quiet=self.quiet)

    def _measured_baseline(self) -> Record:
        return self._remembered(["baseline", self._made_from(Recipe(()), 1.0, 0), self.memory], self._measure_baseline)

    def _baseline_on_test(self) -> float | None:
        """The baseline's quality on the test split, read once for all studies of the same model and data."""

        def measure() -> Record:
            model = runtime.load(self._measured_baseline().files["artifact"], threads=self.threads)
            qualities, _ = bench.quality(model, self.task, {"test": self.examples["test"]})
            return replace(self._record(Recipe(()), self.source, Clock()), measurements=qualities)

        key = ["baseline on test", self._made_from(Recipe(()), 1.0, 0)]
        return self._remembered(key, measure).value("quality_test")

    def _measure_majority(self) -> Record:
        validation = self.examples["validation"]
        logits = majority(self.examples["train"], len(validation), len(self.task.labels))
        return self._simple(
            MAJORITY, "one answer for every text", Clock(), bench.quality_of(logits, self.task, validation)
        )

    def _measure_static(self) -> Record:
        clock, source, validation = Clock(), self.source.encoder, self.examples["validation"]
        with clock.phase("training"):
            with torch.no_grad():
                static = Static(self.source.tokenizer, source.words(torch.arange(source.config.vocabulary)))
            train = bounded(self.examples["train"], self.seed)
            found = static_regression(self.task, train, validation.texts, static, self.seed)
        size = Measurement("size_mb", found.size_mb, "MB", {"estimated": "one byte a weight"})
        return self._simple(STATIC, found.note, clock, size, bench.quality_of(found.logits, self.task, validation))

    def _measure_tfidf(self, size_mb: float | None) -> Record:
        clock = Clock()
        with clock.phase("training"):
            found = fit_tfidf(self.task, bounded(self.examples["train"], self.seed), self.seed, size_mb)
        if found is None:
            reason = "no word occurs" if size_mb is None else f"not even one word fits into {size_mb:g} MB"
            return replace(self._simple(TFIDF, "", clock), outcome="inapplicable", reason=reason)
        record = self._simple(TFIDF, found.note, clock)

        def write(folder: Path) -> None:
            manifest = {"recipe": [], "facts": record.facts, "task": self.task.name}
            artifacts.write_files(found.files, folder / "artifact", manifest)

        entry = self.cache.store(TFIDF, [self._inputs, self.seed, size_mb], write)
        artifact = Artifact(entry / "artifact")
        model = self._bench.load(artifact)
        qualities, logits = bench.quality(model, self.task, {"validation": self.examples["validation"]})
        record = replace(
            record,
            measurements=(*bench.size(artifact), *bench.download(artifact), *qualities),
            bytes_by_group=artifacts.bytes_by_group(artifact),
            files={"artifact": str(artifact.folder), **self._kept_logits(logits)},
        )
        return self._timed(record, self._bench)

    def _simple(self, name: str, note: str, clock: "Clock", *measurements: Measurement) -> Record:
        """The record of a simple baseline, which has no recipe and a fact that names it."""
        record = self._record(Recipe(()), self.source, clock)
        facts = {SIMPLE: {"name": name, "note": note}}
        return replace(record, seed=self.seed, trained=True, measurements=measurements, facts=facts)

    def _measure_baseline(self) -> Record:
        clock, recipe = Clock(), Recipe(())

        def write(folder: Path) -> None:
            self._write(recipe, self.source, self._context(fit_nothing), folder / "artifact")

        with clock.phase("export"):
            entry = self.cache.store("baseline", self._made_from(recipe, 1.0, 0), write)
        record = self._scored(recipe, self.source, Artifact(entry / "artifact"), clock)
        return self._timed(record, self._bench_alone)

    def _measure_preview(self, recipe: Recipe, size_only: bool) -> Record:
        clock, context = Clock(), self._context(fit_nothing)
        folder = self.folder / "previews" / recipe.digest
        with clock.phase("preview"):
            made = candidates.build(recipe, context, self.cache, str, self.start)
            artifact = self._write(recipe, made, context, folder)
        measurements = bench.size(artifact)
        if not size_only:
            measurements += bench.download(artifact)
            with clock.phase("measuring"):
                model = self._bench.load(artifact)
                measurements += self._bench.latency(model, seconds=QUICK_SECONDS).measurements()
                measurements += self._bench.memory(artifact) if self.memory else ()
        record = replace(
            self._record(recipe, made, clock),
            measurements=measurements,
            bytes_by_group=artifacts.bytes_by_group(artifact),
        )
        artifacts.remove(artifact)
        return record

    def _timed(self, record: Record, on: bench.Bench) -> Record:
        model = on.load(Artifact(Path(record.files["artifact"])))
        measured = on.latency(model, seconds=CAREFUL_SECONDS).measurements()
        measured += on.memory(Artifact(Path(record.files["artifact"]))) if self.memory else ()
        return replace(record, measurements=(*record.measurements, *measured))

    def _scored(self, recipe: Recipe, made: Candidate, artifact: Artifact, clock: "Clock") -> Record:
        """What is measured of everything that was trained, the baseline included, but for its latency."""
        facts: dict[str, Json] = dict(made.facts)
        model = runtime.load(artifact.folder, threads=self.threads)
        validation = self.examples["validation"]
        with clock.phase("measuring"):
            qualities, logits = bench.quality(model, self.task, {"validation": validation})
        if not any(isinstance(step, GraphStrategy) for step in recipe.steps):
            with clock.phase("parity"):
                parity = check_parity(made, validation.texts, logits["validation"])
            facts["parity"] = {"largest_difference": parity.largest_difference, "agreement": parity.agreement}
        return replace(
            self._record(recipe, made, clock),
            measurements=(*bench.size(artifact), *bench.download(artifact), *qualities),
            bytes_by_group=artifacts.bytes_by_group(artifact),
            facts=facts,
            files={"artifact": str(artifact.folder), **self._kept_logits(logits)},
        )

    def _record(self, recipe: Recipe, made: Candidate, clock: "Clock") -> Record:
        sources = [self.registry.sources["strategy", step.name] for step in recipe.steps]
        return Record(
            recipe=tuple(recipe.to_json()),
            draw=-1,
            outcome="complete",
            seconds_by_phase=clock.seconds,
            facts=made.facts,
            versions=dict(artifacts.versions(PACKAGES))
            | {source.package: source.version for source in sources}
            | {"machine": machine(), "training threads": str(torch.get_num_threads())}
            | {"trained with": computes_with(self.device)},
        )

    def _context(self, fit: Fit, *, seed: int | None = None, progress: Callable[[Progress], None] = ignore) -> Context:
        seed = self.seed if seed is None else seed
        return Context(
            task=self.task,
            train=self.examples["train"],
            baseline=self.source,
            teacher=self.teacher.watched(progress),
            fit=fit,
            cache=self._remember,
            seed=seed,
            device=self.device,
            unlabelled=self.unlabelled,
            preview=fit is fit_nothing,
        )

    def _remember(self, key: str, compute: Callable[[], Mapping[str, Array]]) -> Mapping[str, Array]:
        if key not in self._memory:
            self._memory[key] = self.cache.arrays("context", [self._inputs, self.seed, key], compute)
        return self._memory[key]

    def _made_from(self, recipe: Recipe, fidelity: float, seed: int) -> list[object]:
        packages = {type(step).__module__.partition(".")[0] for step in recipe.steps} - {"eicompress"}
        code = [code_version(package) for package in sorted(packages)]
        precision = multiplies_bfloat16(self.device)
        return [self._inputs, recipe.to_json(), seed, fidelity, code, self.device, precision]

    @property
    def _inputs(self) -> str:
        """Names what everything here is made from: the inputs, and the code that makes it."""
        return digest_of([self.digests, own_code(MAKING)])

    def _remembered(self, key: object, compute: Callable[[], Record]) -> Record:
        """A record that was measured under the same conditions, or a new one."""
        conditions = [
            own_code(MEASURING),
            machine(),
            self.threads,
            self.seq_len,
            list(artifacts.versions(PACKAGES).values()),
        ]
        entry = self.cache.find("record", [key, conditions])
        if entry:
            record = Record.from_json(json.loads((entry / "record.json").read_text()))
            if all(Path(file).exists() for file in record.files.values()):
                return record
        record = compute()
        self.cache.store("record", [key, conditions], lambda folder: _write_record(record, folder))
        return record

    def _write(self, recipe: Recipe, made: Candidate, context: Context, folder: Path) -> Artifact:
        pairs = isinstance(self.examples["train"].texts[0], tuple)
        graph = artifacts.graph_of(made, pairs=pairs)
        for step in recipe.steps:
            if isinstance(step, GraphStrategy):
                with candidates.blamed(step):
                    graph = step.apply(graph, context)
        manifest = {"recipe": recipe.to_json(), "facts": made.facts, "task": self.task.name}
        return artifacts.write(made, self.task.labels, folder, pairs=pairs, manifest=manifest, graph=graph)

    def _kept_logits(self, logits: Mapping[str, Array]) -> dict[str, str]:
        """Logits in files named by their checksum, by `<split>_logits`."""
        kept = {}
        for split, array in logits.items():
            file = io.BytesIO()
            np.save(file, array.astype(np.float32), allow_pickle=False)
            kept[f"{split}_logits"] = self._kept(file.getvalue(), ".npy")
        return kept

    def _kept_examples(self) -> str:
        """The validation split in a file: texts, targets and the labels that number them."""
        examples = self.examples["validation"]
        value = {"labels": self.task.labels, "targets": examples.targets.tolist(), "texts": examples.texts}
        return self._kept(json.dumps(value, ensure_ascii=False).encode(), ".json")

    def _kept(self, data: bytes, suffix: str) -> str:
        """The path of a file that is named by its checksum."""
        path = self.folder / "files" / f"{hashlib.sha256(data).hexdigest()}{suffix}"
        if not path.is_file():
            write_whole(path, data)
        return str(path)


def open_workshop(
    *,
    model: str,
    data: str,
    task: str,
    columns: Mapping[str, str],
    seed: int,
    threads: int,
    seq_len: int | None,
    folder: Path,
    registry: Registry,
    progress: Callable[[Progress], None],
    memory: bool = False,
    head: str = "",
    teacher_training: str = "teach",
    teacher_timeout_s: float = TEACHER_TIMEOUT,
    teachers: Sequence[str] = (),
    ensemble: str = "mean",
    unlabelled: Sequence[str] = (),
    start: str = "",
) -> Workshop:
    """Read data, model and teachers, and train a teacher first where the model has no head for the task.

    `task` may be empty: it then goes by the columns of the data. `head` is the folder of the teacher that was trained
    before, where there is one. Without `teachers` the model is its own; it is one of them where they name its folder.
    `start` is a folder that `prepare` wrote, built in, or empty. Raises `DataError`, `ModelError`, `SpecError`.
    """
    device, cache = own_device(), Cache(default_folder())
    read = read_data(registry, data, task, columns, seed)
    source_folder = model_folder(model)
    named = read_model(source_folder, len(read.task.labels))
    baseline, notes, trained = named.answering(read.task.labels), read.notes, None
    if device == "cuda":
        notes += (
            f"Students and teachers compute on {torch.cuda.get_device_name()}; artifacts are measured on the CPU.",
        )
    if baseline is None:
        search = opened_teacher_search(
            source_folder, read, seed=seed, device=device, limit_s=teacher_timeout_s, cache=cache, progress=progress
        )
        trained = Path(head) if head else with_teacher(search, teacher_training)
        baseline = read_model(trained, len(read.task.labels))
        notes += how_taught(named.labels, teacher_training, trained)
    if unlabelled and isinstance(read.examples["train"].texts[0], tuple):
        notes += ("The task reads pairs of texts, so single sentences of `--unlabelled` get no answers to learn.",)
    baseline = replace(baseline, digest=digest_of([baseline.digest, read.digest]))
    begin, begin_digest = read_start(start, baseline.candidate) if start else (baseline.candidate, "")
    same = source_folder.resolve()
    others = [None if Path(each).resolve() == same else Path(each) for each in teachers]
    return Workshop(
        registry=registry,
        task=read.task,
        examples=read.examples,
        source=baseline.candidate,
        digest=baseline.digest,
        teacher=who_teaches(baseline, others, ensemble, read, seed=seed, device=device, cache=cache),
        unlabelled=UnlabelledText(
            tuple(unlabelled), withheld((*read.examples["validation"].texts, *read.examples["test"].texts))
        ),
        start=begin,
        start_digest=begin_digest,
        cache=cache,
        folder=folder.resolve(),
        seed=seed,
        device=device,
        threads=threads,
        seq_len=seq_len,
        head=trained,
        memory=memory,
        notes=notes,
    )


@dataclass(frozen=True)
class Lesson:
    """A teacher that was written to a folder, and how good it is on the validation split, beside simple baselines."""

    folder: Path
    taught: Taught
    quality: float
    """Of all members together."""
    of_members: tuple[float, ...]
    simple: Mapping[str, float]
    """What simple baselines reach, by their names."""

    @property
    def beaten_by(self) -> tuple[str, ...]:
        """The simple baselines that are better."""
        return tuple(name for name, quality in self.simple.items() if quality > self.quality)


def train_teacher(
    model: str,
    data: str,
    output: Path,
    *,
    registry: Registry,
    task: str,
    columns: Mapping[str, str],
    seed: int,
    limit_s: float,
    members: int,
    progress: Callable[[Progress], None],
    on_attempt: Callable[[Attempt], None],
) -> Lesson:
    """Search for a teacher, write it to a new folder, and measure it. Raises `DataError` and `ModelError`."""
    device, cache = own_device(), Cache(default_folder())
    read = read_data(registry, data, task, columns, seed)
    search = opened_teacher_search(
        model_folder(model),
        read,
        seed=seed,
        device=device,
        limit_s=limit_s,
        cache=cache,
        progress=progress,
        on_attempt=on_attempt,
    )
    taught = read_taught(with_teacher(search, "teach", members))
    write_folder(output, taught.write)
    measured = open_workshop(
        model=str(output),
        data=data,
        task=task,
        columns=columns,
        seed=seed,
        threads=1,
        seq_len=None,
        folder=default_folder() / "single",
        registry=registry,
        progress=progress,
    )
    validation = read.examples["validation"]
    logits = np.stack([answers_of(each, validation.texts, device)[0] for each in taught.members]).astype(np.float32)
    return Lesson(
        output,
        taught,
        read.task.score(logits.mean(axis=0), validation.targets),
        tuple(read.task.score(each, validation.targets) for each in logits),
        {name: record.value("quality") or 0.0 for name, record in measured.simple(None).items()},
    )


def write_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a new folder, which is there as a whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".draft-") as draft:
        made = Path(draft) / "made"
        made.mkdir()
        write(made)
        made.rename(folder)


def _write_record(record: Record, folder: Path) -> None:
    (folder / "record.json").write_text(json.dumps(record.to_json()))


class Clock:
    """Seconds of each phase of one build."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)
