"""The baseline of a search, measured as candidates are, in the time that there is for it."""

import math
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from eicompress import runtime
from eicompress.contracts import Array, Candidate
from eicompress.errors import MeasureError
from eicompress.export.parity import check_parity, logits_of
from eicompress.metrics.latency import LATENCY
from eicompress.metrics.quality import QUALITY_TEST
from eicompress.recipe import Recipe
from eicompress.training.trainer import fit_nothing
from eicompress.trials import measuring
from eicompress.trials.adjusting import adjusted
from eicompress.trials.kept import Measured
from eicompress.trials.materials import Materials
from eicompress.trials.measuring import Bench, Clock, written
from eicompress.values import Artifact, Record

TRIED = 16
"""Validation texts that tell how long one takes, and that a file which is not measured on all is compared on."""
FEWEST = 100
"""Validation texts that quality is measured on, however long they take."""
SHARES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
"""Of the validation texts, what quality may be measured on."""


@dataclass(frozen=True)
class Baseline:
    """The baseline of materials as an artifact, and what is measured of it and remembered."""

    materials: Materials
    measured: Measured
    on: Bench
    """Without a reference, which is the baseline itself."""
    within_s: float = math.inf
    """Seconds that its quality may take: where it would take longer, it is measured on some of the validation texts."""

    @cached_property
    def artifact(self) -> Artifact:
        """The folder in the cache."""
        there = (self.materials.cache.find("baseline", self._key(share)) for share in SHARES)
        found = next((each for each in there if each is not None), None)
        return Artifact(found / "artifact") if found else self._made(self._share)[0]

    def record(self) -> Record:
        """Size, latency and quality. Raises `MeasureError`, and `ExportError` where the file answers otherwise."""
        known = self.measured.known(["baseline", self._key(1.0)])
        share = 1.0 if known else self._share
        return known or self.measured.remembered(["baseline", self._key(share)], lambda: self._measure(share))

    def on_test(self, within_s: float = math.inf) -> float | None:
        """The quality on the test split, read once for all studies of the same model and data; None where that is not
        known yet and takes longer."""
        if self.test_s() > within_s:
            return None
        return self.measured.remembered(
            self._on_test, lambda: measuring.quality_on_test(self.materials, self.artifact, self.on)
        ).value(QUALITY_TEST)

    def test_s(self) -> float:
        """Seconds that the quality on the test split will take; 0 where it is known."""
        known = self.measured.known(self._on_test)
        return 0.0 if known else self._text_s * len(self.materials.examples["test"])

    def _key(self, share: float) -> list[object]:
        made_from = self.materials.made_from(Recipe(()), 1.0, 0)
        return made_from if share == 1.0 else [*made_from, share]

    @property
    def _on_test(self) -> list[object]:
        return ["baseline on test", self._key(1.0)]

    @cached_property
    def _text_s(self) -> float:
        """Seconds that one text takes the model, by the first of them; its file takes no longer."""
        materials, texts = self.materials, self.materials.examples["validation"].texts[:TRIED]
        logits_of(materials.source, texts[:1], materials.task.answer)
        begun = time.perf_counter()
        for text in texts:
            logits_of(materials.source, [text], materials.task.answer)
        return (time.perf_counter() - begun) / len(texts)

    @cached_property
    def _share(self) -> float:
        """Of the validation texts, what there is time for."""
        if self.within_s == math.inf:
            return 1.0
        wanted = max(FEWEST, self.within_s / self._text_s) / len(self.materials.examples["validation"])
        return next((share for share in SHARES if share <= wanted), SHARES[-1])

    def _made(self, share: float) -> tuple[Artifact, Array | None]:
        """The folder in the cache, what is chosen on validation texts chosen on this share of them; their logits, where
        it was written now and they were read for that."""
        materials, recipe, logits = self.materials, Recipe(()), None

        def write(folder: Path) -> None:
            nonlocal logits
            context = materials.context(fit_nothing)
            made = written(materials, recipe, self._adjusted(share), context, folder / "artifact")
            logits = measuring.tuned_baseline(materials, made, self.on, share)

        return Artifact(materials.cache.kept("baseline", self._key(share), write) / "artifact"), logits

    def _measure(self, share: float) -> Record:
        materials, clock, recipe = self.materials, Clock(), Recipe(())
        with clock.phase("export"):
            artifact, logits = self._made(share)
        model = self._adjusted(share)
        if share < 1.0:
            self._check(model, artifact)
        record = measuring.scored(materials, recipe, model, artifact, self.on, clock, share=share, known=logits)
        record = replace(record, files={**record.files, "artifact": str(artifact.folder)})
        record = measuring.timed(record, materials, self.on)
        if LATENCY in record.unmeasured:
            # A device that is not there times no candidate either.
            raise MeasureError(record.unmeasured[LATENCY])
        return record

    def _adjusted(self, share: float) -> Candidate:
        """The model, as candidates are adjusted: on this share of the validation texts."""
        materials = self.materials
        return adjusted(materials.source, materials.task, materials.validation(share))

    def _check(self, model: Candidate, artifact: Artifact) -> None:
        """Raise `ExportError` where the file answers otherwise than the model."""
        texts, answer = self.materials.examples["validation"].texts[:TRIED], self.materials.task.answer
        logits = runtime.load(artifact.folder, threads=self.on.conditions.threads).logits(texts)
        check_parity(model, texts, answer.standard(logits), answer)
