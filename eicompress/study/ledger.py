"""What a study remembers, in Optuna's database: the records of its trials, and what it knows of itself."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import optuna

from eicompress.study.database import FILE, damaged, lasting
from eicompress.study.objective import built_in
from eicompress.study.optuna_private import count_trials, set_attribute
from eicompress.study.record_files import read_record, stored_record
from eicompress.study.space import SearchSpace
from eicompress.values import Json, Quantity, Record, digest_of

RECORD = "record"
"""The user attribute of a trial that holds its record."""
_SIMPLE = "simple"


@dataclass(frozen=True)
class Ledger:
    """A study's database. Every trial that ended has a record."""

    study: optuna.Study
    folder: Path

    def records(self) -> dict[int, Record]:
        """The record of each trial that ended, by its number."""
        return {
            trial.number: read_record(trial.user_attrs[RECORD], self.folder)
            for trial in self.study.get_trials(deepcopy=False)
            if RECORD in trial.user_attrs and trial.state.is_finished()
        }

    def version(self) -> object:
        """Changes whenever the database does, and costs next to nothing to ask for."""
        files = sorted(self.folder.glob(f"{FILE}*"))
        if files:
            return [(file.name, file.stat().st_mtime_ns) for file in files if file.is_file()]
        return count_trials(self.study), self.seconds()

    def drawn(self) -> dict[str, int]:
        """The first trial that ended of each recipe, by the digest of the recipe before it was filled."""
        found: dict[str, int] = {}
        for trial in self.study.get_trials(deepcopy=False):
            if RECORD in trial.user_attrs and trial.state.is_finished() and "variant_of" not in trial.user_attrs:
                found.setdefault(digest_of(trial.user_attrs.get("drawn")), trial.number)
        return found

    def given(self) -> set[int]:
        """The trials of recipes that were given, and not drawn."""
        return {trial.number for trial in self.study.get_trials(deepcopy=False) if "known" in trial.user_attrs}

    def enqueue_known(self, space: SearchSpace) -> None:
        """Queue the space's known-good recipes, once in a study's life."""
        enqueued = [trial.user_attrs.get("known") for trial in self.study.get_trials(deepcopy=False)]
        for parameters in space.known:
            digest = digest_of(parameters)
            if digest not in enqueued:
                self.study.enqueue_trial(dict(parameters), user_attrs={"known": digest})

    def write(self, number: int, record: Record) -> None:
        """Store the record of a trial. A trial that has one is never run again."""
        self.set_trial(number, RECORD, stored_record(record, self.folder))

    def set_trial(self, number: int, name: str, value: object) -> None:
        """Store something of a trial."""
        lasting(lambda: set_attribute(self.study, number, name, value))

    def seconds(self) -> float:
        """Wall-clock seconds that the study has taken so far."""
        return float(self.study.user_attrs.get("seconds", 0.0))

    def set_seconds(self, seconds: float) -> None:
        self._set("seconds", seconds)

    def baseline(self) -> Record | None:
        """The baseline's record, for those who look at the study later."""
        value = self.study.user_attrs.get("baseline")
        return read_record(value, self.folder) if value else None

    def set_baseline(self, record: Record) -> None:
        self._set_record("baseline", record)

    def simple(self) -> dict[str, Record]:
        """The records of the simple baselines, by their names."""
        return dict(self._records_of(_SIMPLE))

    def set_simple(self, name: str, record: Record) -> None:
        self._set_record(f"{_SIMPLE}:{name}", record)

    def ended(self) -> Json:
        """Why the search ended and what it had been asked for then; empty while it goes on."""
        return self._get("ended")

    def set_ended(self, ended: Json) -> None:
        self._set("ended", dict(ended))

    def rungs(self) -> Json:
        """The lengths of the study's trainings, `shares` of the full one and its `steps`, and the `shared_epochs` of a
        shared training that was shortened; empty before they are set."""
        return self._get("rungs")

    def metrics(self) -> dict[str, Quantity]:
        """The metrics that its trials are measured by; the built-in ones before they are set."""
        found: Sequence[Json] = self.study.user_attrs.get("metrics", ())
        try:
            return {each["name"]: Quantity(**each) for each in found} or built_in()
        except (LookupError, TypeError) as error:
            raise damaged(self.folder, f"its metrics cannot be read ({type(error).__name__})") from error

    def set_metrics(self, metrics: Iterable[Quantity]) -> None:
        self._set("metrics", [asdict(each) for each in metrics])

    def set_rungs(self, shares: Sequence[float], steps: int | None, shared_epochs: float = 0.0) -> None:
        shortened = {"shared_epochs": shared_epochs} if shared_epochs else {}
        self._set("rungs", {"shares": list(shares), "steps": steps, **shortened})

    def promotion(self) -> Json:
        """Which trials were to be compared after the search, at which length, and for which goal; empty before."""
        return self._get("promotion")

    def set_promotion(self, promotion: Json) -> None:
        self._set("promotion", dict(promotion))

    def compared(self, length: float) -> dict[int, Record]:
        """The records of trials that were trained for this share of the full training to be compared."""
        found = ((int(name.split(":")[0]), record) for name, record in self._records_of("compared"))
        return {number: record for number, record in found if record.fidelity == length}

    def compare(self, number: int, record: Record) -> None:
        """Store the record of the longer training that a trial got to be compared."""
        self._set_record(f"compared:{number}:{round(100 * record.fidelity)}", record)

    def rebuilds(self) -> dict[int, tuple[Record, ...]]:
        """The records of rebuilds at full fidelity, one for each seed, by the number of the trial that was rebuilt."""
        found: dict[int, tuple[Record, ...]] = {}
        for name, record in self._records_of("promoted"):
            number = int(name.split(":")[0])
            found[number] = (*found.get(number, ()), record)
        return found

    def promote(self, number: int, record: Record) -> None:
        """Store the record of the rebuild of a trial."""
        self._set_record(f"promoted:{number}:{record.seed}", record)

    def kept(self) -> dict[int, Record]:
        """The records of trials that are results as they were trained, without a rebuild."""
        return {int(name): record for name, record in self._records_of("kept")}

    def keep(self, number: int, record: Record) -> None:
        """Store the record of a trial that is a result as it was trained, without a rebuild."""
        self._set_record(f"kept:{number}", record)

    def forget_kept(self, number: int) -> None:
        """Let what was kept of a trial be decided anew."""
        if number in self.kept():
            self._set(f"kept:{number}", None)

    def _records_of(self, kind: str) -> Iterator[tuple[str, Record]]:
        """The records that the study itself holds under `kind:...`, by the rest of their names."""
        for name, value in sorted(self.study.user_attrs.items()):
            if name.startswith(f"{kind}:") and value:
                yield name.removeprefix(f"{kind}:"), read_record(value, self.folder)

    def _set_record(self, name: str, record: Record) -> None:
        self._set(name, stored_record(record, self.folder))

    def _get(self, name: str) -> Json:
        found: Json = self.study.user_attrs.get(name, {})
        return found

    def _set(self, name: str, value: object) -> None:
        lasting(lambda: self.study.set_user_attr(name, value))
