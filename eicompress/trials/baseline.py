"""The baseline of a search, measured as candidates are, in the time that there is for it."""

import math
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from eicompress import runtime
from eicompress.errors import MeasureError
from eicompress.export.parity import check_parity
from eicompress.metrics.latency import LATENCY
from eicompress.metrics.quality import QUALITY_TEST
from eicompress.recipe import Recipe
from eicompress.training.trainer import fit_nothing
from eicompress.trials import measuring
from eicompress.trials.kept import Measured
from eicompress.trials.materials import Materials
from eicompress.trials.measuring import Bench, Clock, written
from eicompress.values import Artifact, Record

TRIED = 16
"""Validation texts that tell how long one takes."""
FEWEST = 100
"""Validation texts that quality is measured on, however long they take."""


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
        materials, recipe = self.materials, Recipe(())

        def write(folder: Path) -> None:
            written(materials, recipe, materials.source, materials.context(fit_nothing), folder / "artifact")

        return Artifact(materials.cache.kept("baseline", self._made_from, write) / "artifact")

    def record(self) -> Record:
        """Size, latency and quality. Raises `MeasureError`, and `ExportError` where the file answers otherwise."""
        whole = ["baseline", self._made_from]
        part = [*whole, self.within_s]
        found = self.measured.known(whole) or self.measured.known(part)
        if found is not None:
            return found
        clock = Clock()
        with clock.phase("export"):
            artifact = self.artifact
        share = self._share()
        return self.measured.remembered(whole if share == 1.0 else part, lambda: self._measure(artifact, share, clock))

    def on_test(self, within_s: float = math.inf) -> float | None:
        """The quality on the test split, read once for all studies of the same model and data; None where that is not
        known yet and takes longer."""
        known = self.measured.known(self._on_test)
        if known is None:
            if self._text_s * len(self.materials.examples["test"]) > within_s:
                return None
            known = self.measured.remembered(
                self._on_test, lambda: measuring.quality_on_test(self.materials, self.artifact, self.on)
            )
        return known.value(QUALITY_TEST)

    def test_s(self) -> float:
        """Seconds that the quality on the test split will take; 0 where it is known."""
        known = self.measured.known(self._on_test)
        return 0.0 if known else self._text_s * len(self.materials.examples["test"])

    @property
    def _made_from(self) -> list[object]:
        return self.materials.made_from(Recipe(()), 1.0, 0)

    @property
    def _on_test(self) -> list[object]:
        return ["baseline on test", self._made_from]

    @cached_property
    def _text_s(self) -> float:
        """Seconds that one text takes, by the first of them. Raises `ExportError` where the file answers otherwise."""
        model = runtime.load(self.artifact.folder, threads=self.on.conditions.threads)
        texts = self.materials.examples["validation"].texts[:TRIED]
        model.logits(texts[:1])
        begun = time.perf_counter()
        logits = model.logits(texts)
        seconds = (time.perf_counter() - begun) / len(texts)
        answer = self.materials.task.answer
        check_parity(self.materials.source, texts, answer.standard(logits), answer)
        return seconds

    def _share(self) -> float:
        """Of the validation texts, what there is time for."""
        if self.within_s == math.inf:
            return 1.0
        count = len(self.materials.examples["validation"])
        return min(1.0, max(FEWEST, self.within_s / self._text_s) / count)

    def _measure(self, artifact: Artifact, share: float, clock: Clock) -> Record:
        materials = self.materials
        record = measuring.scored(materials, Recipe(()), materials.source, artifact, self.on, clock, share=share)
        record = replace(record, files={**record.files, "artifact": str(artifact.folder)})
        record = measuring.timed(record, materials, self.on)
        if LATENCY in record.unmeasured:
            # A device that is not there times no candidate either.
            raise MeasureError(record.unmeasured[LATENCY])
        return record
