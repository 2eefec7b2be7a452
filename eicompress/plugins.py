"""Find plug-ins, keep the broken ones apart, and return what they provide as a `Registry`.

The built-ins register through the same hooks as any other package, whose entry point is

    [project.entry-points.eicompress]
    my_plugin = "my_package.my_module"

`$EICOMPRESS_ONLY_PLUGINS`, or a command's `--only-plugins`, names the packages that may load beside the built-ins.
"""

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from inspect import isclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Literal, TypeAlias

import pluggy

from eicompress import hookspecs
from eicompress.contracts import INTERFACE, Strategy, Task
from eicompress.deployment import Device, Target
from eicompress.errors import PluginError, SpecError, nearest, shortened
from eicompress.measures import Metric, check_metric
from eicompress.recipe import Recipe, check_defaults
from eicompress.values import Json, Record

ONLY = "EICOMPRESS_ONLY_PLUGINS"
BUILT_IN = ("eicompress.strategies", "eicompress.tasks", "eicompress.metrics", "eicompress.export")

Kind: TypeAlias = Literal["strategy", "task", "metric", "target", "device"]
_HOOKS: Mapping[Kind, str] = MappingProxyType(
    {
        "strategy": "register_strategies",
        "task": "register_tasks",
        "metric": "register_metrics",
        "target": "register_targets",
        "device": "register_devices",
    }
)
_CONTRACTS: Mapping[Kind, type] = MappingProxyType(
    {"strategy": Strategy, "task": Task, "metric": Metric, "target": Target, "device": Device}
)


@dataclass(frozen=True)
class Source:
    """The distribution that something comes from."""

    package: str
    version: str

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


@dataclass(frozen=True)
class Broken:
    """A plug-in that could not be used, and why."""

    plugin: str
    source: Source
    reason: str


@dataclass(frozen=True)
class Registry:
    """Everything that the usable plug-ins provide, by name.

    A name that two packages provide is in `clashes` and nowhere else: it spoils only a study that names it.
    """

    strategies: Mapping[str, type[Strategy]]
    tasks: Mapping[str, type[Task]]
    metrics: Mapping[str, type[Metric]]
    sources: Mapping[tuple[Kind, str], Source]
    targets: Mapping[str, type[Target]] = field(default_factory=dict)
    devices: Mapping[str, type[Device]] = field(default_factory=dict)
    broken: tuple[Broken, ...] = ()
    clashes: Mapping[tuple[Kind, str], tuple[Source, ...]] = field(default_factory=dict)
    listeners: tuple[Callable[[Record], None], ...] = ()

    def strategy(self, name: str) -> type[Strategy]:
        """The strategy of this name. Raises `PluginError` for a clash and `SpecError` for an unknown name."""
        self._check("strategy", name, self.strategies)
        return self.strategies[name]

    def task(self, name: str) -> type[Task]:
        """The task of this name. Raises `PluginError` for a clash and `SpecError` for an unknown name."""
        self._check("task", name, self.tasks)
        return self.tasks[name]

    def metric(self, name: str) -> type[Metric]:
        """The metric of this name. Raises `PluginError` for a clash and `SpecError` for an unknown name."""
        self._check("metric", name, self.metrics)
        return self.metrics[name]

    def target(self, name: str) -> type[Target]:
        """The target of this name. Raises `PluginError` for a clash and `SpecError` for an unknown name."""
        self._check("target", name, self.targets)
        return self.targets[name]

    def device(self, name: str) -> type[Device]:
        """The device of this name. Raises `PluginError` for a clash and `SpecError` for an unknown name."""
        self._check("device", name, self.devices)
        return self.devices[name]

    @property
    def provided(self) -> Mapping[Kind, Mapping[str, type]]:
        """All of it, by what it is."""
        return {
            "strategy": self.strategies,
            "task": self.tasks,
            "metric": self.metrics,
            "target": self.targets,
            "device": self.devices,
        }

    def recipe(self, steps: Sequence[Json]) -> Recipe:
        """The recipe that plain data describe. Raises `SpecError` and `PluginError`."""
        for step in steps:
            if isinstance(step, Mapping) and isinstance(step.get("strategy"), str):
                self.strategy(step["strategy"])
        return Recipe.from_json(steps, self.strategies)

    def tell(self, record: Record) -> tuple[str, ...]:
        """Show a record to every plug-in that looks at records; the complaints of those that failed."""
        complaints = []
        for listener in self.listeners:
            try:
                listener(record)
            except (Exception, SystemExit) as error:
                module = getattr(listener, "__module__", "a plug-in")
                complaints.append(f"`trial_recorded` of `{module}` failed: {type(error).__name__}: {error}")
        return tuple(complaints)

    def _check(self, kind: Kind, name: str, known: Mapping[str, type]) -> None:
        if (kind, name) in self.clashes:
            packages = " and ".join(f"`{source}`" for source in self.clashes[kind, name])
            raise PluginError(
                f"the {kind} `{name}` must come from one package, but {packages} provide it: uninstall one, or name "
                "the packages that may load with `--only-plugins`"
            )
        if name in known:
            return
        message = f"there is no {kind} {shortened(name)}: {nearest(name, known) if known else 'none is registered'}"
        for each in self.broken:
            message += (
                f"\nThe plug-in `{each.plugin}` of `{each.source}` is broken and may be what provides "
                f"it: {each.reason.splitlines()[0]}"
            )
        raise PluginError(message) if self.broken else SpecError(message)


def discover(file: str | Path | None = None, only: str | None = None) -> Registry:
    """The registry of the built-ins and of every installed package with an `eicompress` entry point.

    `file` is one more plug-in, for an experiment. `only` names the packages that may load, with commas between them;
    by default `$EICOMPRESS_ONLY_PLUGINS` does. Raises `SpecError`, and `PluginError` for a broken `file`.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    own = Source("eicompress", _version("eicompress"))
    sources = {}
    for module in BUILT_IN:
        manager.register(importlib.import_module(module), name=module)
        sources[module] = own
    broken = []
    for point in _allowed(os.environ.get(ONLY) if only is None else only):
        source = _source(point)
        name = f"{source.package}:{point.name}"
        try:
            loaded = point.load()
            _check_interface(loaded, source)
            manager.register(loaded, name=name)
            sources[name] = source
        except (Exception, SystemExit) as error:
            broken.append(Broken(point.name, source, _reason(error)))
    if file is None:
        return _collect(manager, sources, broken)
    path = Path(file)
    named = Source(path.name, "(a file)")
    manager.register(_loaded(path, named), name=path.name)
    registry = _collect(manager, {**sources, path.name: named}, broken)
    for each in registry.broken:
        if each.source == named:
            raise PluginError(f"`{path}` must be a plug-in, but is broken: {each.reason}")
    return registry


def _allowed(only: str | None) -> list[EntryPoint]:
    """The entry points that may load, in a fixed order."""
    points = sorted(entry_points(group=hookspecs.PROJECT), key=lambda each: (each.name, each.value))
    if only is None:
        return points
    names = {_plain(name) for name in only.split(",") if name.strip()}
    known = {_plain(name) for point in points for name in (point.name, _source(point).package)}
    for name in sorted(names - known):
        offered = nearest(name, known) if known else "none is installed"
        raise SpecError(f"`--only-plugins` and `${ONLY}` must name installed packages, but got `{name}`: {offered}")
    return [point for point in points if {_plain(point.name), _plain(_source(point).package)} & names]


def _plain(name: str) -> str:
    """A package's name as it compares."""
    return name.strip().lower().replace("_", "-").replace(".", "-")


def _loaded(path: Path, source: Source) -> ModuleType:
    """The module in a file. Its name is entered with the imported ones, where dataclasses look for it."""
    if path.suffix != ".py" or not path.is_file():
        raise SpecError(f"`--plugin` must name a Python file, but got `{path}`: give for example `my_strategy.py`")
    name = f"eicompress_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        _check_interface(module, source)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise PluginError(f"`{path}` must be a plug-in, but does not import: {_reason(error)}") from error
    return module


def _check_interface(plugin: object, source: Source) -> None:
    """Refuse a plug-in that says it was made for another interface."""
    made_for = getattr(plugin, "EICOMPRESS_INTERFACE", INTERFACE)
    if made_for == INTERFACE:
        return
    newer = isinstance(made_for, int) and made_for > INTERFACE
    remedy = (
        "upgrade eicompress"
        if newer
        else f"upgrade `{source.package}`, or change it as `docs/write-a-plugin.md` says and set "
        f"`EICOMPRESS_INTERFACE = {INTERFACE}`"
    )
    raise PluginError(
        f"`{source}` must be made for interface {INTERFACE}, that of eicompress {_version('eicompress')}, but is made "
        f"for interface {made_for}: {remedy}"
    )


def _collect(manager: pluggy.PluginManager, sources: Mapping[str, Source], broken: list[Broken]) -> Registry:
    provided: list[tuple[Kind, type, Source]] = []
    listeners = []
    for plugin, source in sources.items():
        try:
            _check_hooks(manager, plugin)
            found = [(kind, each, source) for kind in _HOOKS for each in _provided(manager, plugin, kind)]
        except (Exception, SystemExit) as error:
            broken.append(Broken(plugin.rpartition(":")[2], source, _reason(error)))
            continue
        provided += found
        listeners += _implementations(manager, plugin, "trial_recorded")
    owners: dict[tuple[Kind, str], list[tuple[type, Source]]] = {}
    for kind, each, source in provided:
        owners.setdefault((kind, each.name), []).append((each, source))  # type: ignore[attr-defined]
    clear = {key: each[0] for key, each in owners.items() if len(each) == 1}

    def named(kind: Kind) -> Mapping[str, Any]:
        return MappingProxyType({name: each[0] for (of, name), each in clear.items() if of == kind})

    return Registry(
        strategies=named("strategy"),
        tasks=named("task"),
        metrics=named("metric"),
        targets=named("target"),
        devices=named("device"),
        sources=MappingProxyType({key: each[1] for key, each in clear.items()}),
        broken=tuple(broken),
        clashes=MappingProxyType(
            {key: tuple(source for _, source in each) for key, each in owners.items() if len(each) > 1}
        ),
        listeners=tuple(listeners),
    )


def _check_hooks(manager: pluggy.PluginManager, plugin: str) -> None:
    known = {*_HOOKS.values(), "trial_recorded"}
    loaded = manager.get_plugin(plugin)
    implemented = [caller.name for caller in manager.get_hookcallers(loaded) or ()]
    for name in implemented:
        if name not in known:
            raise PluginError(f"there is no hook `{name}`: {nearest(name, known)}")
    unmarked = sorted(name for name in known - set(implemented) if hasattr(loaded, name))
    if unmarked:
        raise PluginError(f"the hook `{unmarked[0]}` must be marked with `@hookimpl` of `eicompress.hookspecs`")
    if not implemented:
        raise PluginError(f"a plug-in must implement a hook, but implements none of {', '.join(sorted(known))}")


def _implementations(manager: pluggy.PluginManager, plugin: str, hook: str) -> list[Callable[..., Any]]:
    return [each.function for each in getattr(manager.hook, hook).get_hookimpls() if each.plugin_name == plugin]


def _provided(manager: pluggy.PluginManager, plugin: str, kind: Kind) -> list[type]:
    classes: list[type] = []
    for hook in _implementations(manager, plugin, _HOOKS[kind]):
        answer = hook()
        if not isinstance(answer, list | tuple):
            raise PluginError(f"`{_HOOKS[kind]}` must return a list of classes, but got {answer!r}")
        for each in answer:
            _check_class(kind, each)
        classes += answer
    return classes


def _check_class(kind: Kind, each: object) -> None:
    contract = _CONTRACTS[kind]
    if not (isclass(each) and issubclass(each, contract)):
        raise PluginError(f"`{_HOOKS[kind]}` must return subclasses of `{contract.__name__}`, but got {each!r}")
    for attribute in ("name", "suffix") if kind == "target" else ("name",):
        if not isinstance(getattr(each, attribute, None), str):
            raise PluginError(f"the {kind} `{each.__qualname__}` must have a class attribute `{attribute}`: a string")
    missing = sorted(getattr(each, "__abstractmethods__", ()))
    if missing:
        raise PluginError(f"the {kind} `{each.__qualname__}` must define " + ", ".join(f"`{name}`" for name in missing))
    if issubclass(each, Metric):
        check_metric(each)
    if issubclass(each, Strategy):
        try:
            check_defaults(each)
        except SpecError as error:
            raise PluginError(f"a knob's default must be in its domain: {error}") from error


def _source(point: EntryPoint) -> Source:
    return Source(point.dist.name, point.dist.version) if point.dist else Source(point.module, "unknown")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _reason(error: BaseException) -> str:
    """One line that says what happened, and then the traceback."""
    text = "".join(traceback.format_exception(error)).strip()
    head = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
    return f"{head}\n{text}"
