"""A search before it runs: what was asked for, checked as far as it can be without model and data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from eicompress.errors import SpecError, StudyError
from eicompress.measures import quantities
from eicompress.metrics.size import DOWNLOAD, SIZE
from eicompress.parsing import study_name
from eicompress.plugins import Registry, discover
from eicompress.spec import Spec, read, read_search, read_study
from eicompress.study.asked import check
from eicompress.study.objective import Objective
from eicompress.study.recipe_file import read_recipe
from eicompress.study.result import Result, result_of
from eicompress.study.space import SearchSpace
from eicompress.study.space_file import read_space
from eicompress.study.store import read_ledger
from eicompress.study.trust import STORAGE, check_trusted
from eicompress.study.warm_start import Named, as_parameters, best_recipes, recipe_files
from eicompress.trials.ray_cluster import Place, check_installed
from eicompress.values import Quantity

TEACHER = "teacher"
"""In a study's folder, the teacher that was trained for it."""


@dataclass(frozen=True)
class Plan:
    """A search that was asked for, and what the plug-ins and the search space are for it."""

    spec: Spec
    registry: Registry
    space: SearchSpace
    notes: tuple[str, ...] = ()

    @property
    def digests(self) -> dict[str, str]:
        """Digests of the search's inputs besides model and data, by which a study is identified."""
        return {"space": self.space.digest, **_plugin_digest(self.spec)}

    @property
    def objective(self) -> Objective:
        """The objective of the search."""
        return objective_of(self.spec, quantities(self.registry.metrics))


def planned(written: Mapping[str, object]) -> Plan:
    """The plan of a search in its settings; what an existing study knows need not be given again."""
    own = given = {name: value for name, value in written.items() if value is not None}
    if "study" in given and not {"model", "data"} & set(given):
        given = {**read_study(study_folder(given["study"], given.get("studies", "studies"))), **given}
    spec = _with_remembered_plugin(read_search(given))
    # Refused here already: before a plug-in is loaded, a model read or a teacher trained.
    check(spec.folder, spec.to_toml(), _plugin_digest(spec))
    check_trusted(spec, own)
    if spec.settings["engine"] == "ray":
        check_installed()
    registry = discover(spec.plugin, spec.settings.get("only_plugins"))
    for kind in {spec.task, *(spec.of_task(name).task for name in spec.tasks)} - {""}:
        registry.task(kind)
    registry.device(spec.settings["device"])
    _check_metrics(spec, registry)
    space = read_space(spec.settings["space"], registry)
    traded = {SIZE, DOWNLOAD} & set(spec.metrics)
    plan = Plan(spec, registry, space.unfilled() if traded else space)
    check(spec.folder, spec.to_toml(), plan.digests)
    return _with_known_recipes(plan)


def study_folder(study: object, studies: object) -> Path:
    """The folder of a study. Raises `SpecError` where the name is none."""
    return Path(str(studies)) / study_name(study)


def known_spec(study: str, studies: str | Path) -> Spec:
    """The stored spec of a study. Raises `SpecError`."""
    return read(read_study(study_folder(study, studies)))


def kept_teacher(spec: Spec) -> Path | None:
    """The folder of the teacher that was trained for a study; None where there was none to train."""
    kept = spec.folder / TEACHER
    return kept if kept.is_dir() else None


def found_so_far(spec: Spec) -> Result:
    """The results of a study so far. Raises `StudyError`."""
    ledger = read_ledger(spec.folder)
    return result_of(ledger, objective_of(spec, ledger.metrics()))


def objective_of(spec: Spec, metrics: Mapping[str, Quantity]) -> Objective:
    """What a spec's search is for, of these metrics."""
    kind = spec.settings["objective"].partition(":")[0]
    return Objective(kind, spec.budgets, spec.metrics, metrics)


def place_of(spec: Spec) -> Place:
    """What a Ray cluster keeps for each worker of a search, and where it is."""
    settings = spec.settings
    return Place(settings.get("ray_address", ""), settings["worker_cpus"], settings["worker_gpus"])


def _check_metrics(spec: Spec, registry: Registry) -> None:
    """Raise `SpecError` unless all that limits and the objective name is a registered metric."""
    check_limits(spec.budgets, registry)
    _check_known(spec.metrics, "`--objective` must be a metric, or `reward`", registry)


def check_limits(budgets: Iterable[str], registry: Registry) -> None:
    """Raise `SpecError` unless each limit is that of a registered metric."""
    _check_known(budgets, "`--limit` must name a metric", registry)


def _check_known(metrics: Iterable[str], must: str, registry: Registry) -> None:
    for name in metrics:
        try:
            registry.metric(name)
        except SpecError as error:
            raise SpecError(f"{must}, but {error}") from error


def _with_known_recipes(plan: Plan) -> Plan:
    """The plan with the recipes that `--from` names before those of the space. Raises `SpecError` and `StudyError`."""
    spec = plan.spec
    origin = spec.settings.get("from_")
    if not origin:
        return plan
    named = Path(origin)
    if named.exists() and not (named / "study.toml").is_file():
        files = recipe_files(named)
        recipes: list[Named] = [(f"`{path}`", tuple(read_recipe(path, plan.registry).to_json())) for path in files]
    else:
        studies, name = (named.parent, named.name) if named.exists() else (spec.studies, str(origin))
        other = known_spec(name, studies)
        check_trusted(other, spec.settings, [STORAGE])
        recipes = best_recipes(found_so_far(other))
    known, notes = as_parameters(plan.space, recipes)
    return replace(plan, space=replace(plan.space, known=(*known, *plan.space.known)), notes=tuple(notes))


def _with_remembered_plugin(spec: Spec) -> Spec:
    """The spec with the plug-in file that its study was started with, where it names none. Raises `StudyError`."""
    if not (spec.folder / "study.toml").is_file():
        return spec
    known, named = str(read_study(spec.folder).get("plugin", "")), spec.plugin
    if known and named in (None, known) and not Path(known).is_file():
        raise StudyError(
            f"the study in `{spec.folder}` must have the plug-in that it was started with, but `{known}` is gone: put "
            "it back, name its new place with `--plugin`, or give another `--study`"
        )
    return Spec({**spec.settings, "plugin": known}) if known and named is None else spec


def _plugin_digest(spec: Spec) -> dict[str, str]:
    path = Path(spec.plugin or "")
    return {"plugin": sha256(path.read_bytes()).hexdigest()[:16]} if path.is_file() else {}
