import textwrap
from itertools import count
from pathlib import Path

import pytest

from eicompress.errors import PluginError, SpecError
from eicompress.plugins import Registry, discover
from eicompress.values import Record

_numbers = count()

STRATEGY = """
    from dataclasses import dataclass
    from typing import Annotated, ClassVar

    from optuna.distributions import FloatDistribution

    from eicompress.contracts import ModelStrategy
    from eicompress.hookspecs import hookimpl

    @dataclass(frozen=True)
    class Shrink(ModelStrategy):
        name: ClassVar[str] = "{name}"
        ratio: Annotated[float, FloatDistribution(0.1, 0.9)] = {default}

        def apply(self, subject, context):
            return subject

    @hookimpl
    def register_strategies():
        return [Shrink]
"""


def install(folder: Path, package: str, code: str) -> None:
    """A distribution on the path, as an installer leaves it: a module and its metadata."""
    module = f"eicompress_test_plugin_{next(_numbers)}"
    (folder / f"{module}.py").write_text(textwrap.dedent(code))
    info = folder / f"{package.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[eicompress]\n{package} = {module}\n")
    (info / "top_level.txt").write_text(module)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def broken_of(registry: Registry, package: str) -> list[str]:
    return [each.reason for each in registry.broken if each.source.package == package]


def test_built_ins_come_from_eicompress_itself() -> None:
    registry = discover()
    assert not registry.broken
    assert {source.package for source in registry.sources.values()} == {"eicompress"}


def test_an_installed_package_adds_its_strategies(site: Path) -> None:
    install(site, "good", STRATEGY.format(name="shrink", default=0.5))
    registry = discover()
    assert registry.strategy("shrink").name == "shrink"
    assert str(registry.sources["strategy", "shrink"]) == "good 1.2"
    assert registry.recipe([{"strategy": "shrink", "ratio": 0.2}]).to_json() == [{"strategy": "shrink", "ratio": 0.2}]


def test_a_package_that_does_not_import_is_kept_apart(site: Path) -> None:
    install(site, "bad", "import a_module_that_is_not_there\n")
    install(site, "good", STRATEGY.format(name="shrink", default=0.5))
    registry = discover()
    assert "shrink" in registry.strategies
    (reason,) = broken_of(registry, "bad")
    assert reason.startswith("ModuleNotFoundError: No module named 'a_module_that_is_not_there'")


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("0.5", "0.95", "`shrink.ratio` must be in [0.1, 0.9], but got 0.95"),
        ("register_strategies", "register_strategy", "there is no hook `register_strategy`"),
        ("[Shrink]", "Shrink", "must return a list of classes"),
        ("[Shrink]", "[dict]", "must return subclasses of `Strategy`"),
        ("def apply", "def do", "must define `apply`"),
        ("@hookimpl", "raise SystemExit(3)", "SystemExit: 3"),
        ("@hookimpl", "", "the hook `register_strategies` must be marked with `@hookimpl`"),
        ("@hookimpl\n    def register_strategies", "def strategies", "implements none of register_devices"),
    ],
)
def test_a_package_that_breaks_the_contract_is_kept_apart(site: Path, good: str, bad: str, said: str) -> None:
    install(site, "bad", STRATEGY.format(name="shrink", default=0.5).replace(good, bad))
    (reason,) = broken_of(discover(), "bad")
    assert said in reason.splitlines()[0]


def test_two_strategies_of_one_name_spoil_only_that_name(site: Path) -> None:
    install(site, "first", STRATEGY.format(name="shrink", default=0.5))
    install(site, "second", STRATEGY.format(name="shrink", default=0.5))
    install(site, "third", STRATEGY.format(name="grow", default=0.5))
    registry = discover()
    assert registry.strategy("grow")
    with pytest.raises(PluginError, match=r"`first 1\.2` and `second 1\.2` provide it"):
        registry.recipe([{"strategy": "shrink"}])


def test_an_unknown_name_offers_the_nearest_one(site: Path) -> None:
    install(site, "good", STRATEGY.format(name="shrink", default=0.5))
    with pytest.raises(SpecError, match="there is no strategy `shrnk`: did you mean `shrink`"):
        discover().strategy("shrnk")


def test_an_unknown_name_points_at_broken_plug_ins(site: Path) -> None:
    install(site, "bad", "import a_module_that_is_not_there\n")
    with pytest.raises(PluginError, match=r"(?s)no strategy `bad_one`.*`bad` of `bad 1\.2` is broken"):
        discover().strategy("bad_one")


def test_a_listener_that_fails_is_a_complaint_and_no_crash(site: Path) -> None:
    install(
        site,
        "listener",
        """
        from eicompress.hookspecs import hookimpl

        @hookimpl
        def trial_recorded(record):
            raise ValueError(f"draw {record.draw}")
        """,
    )
    (complaint,) = discover().tell(Record(recipe=(), draw=7, outcome="complete"))
    assert complaint.endswith("ValueError: draw 7")


def test_only_the_packages_that_are_named_load(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, "first-one", STRATEGY.format(name="shrink", default=0.5))
    install(site, "second", STRATEGY.format(name="grow", default=0.5))
    names = set(discover(only="").strategies)
    assert {"shrink", "grow"}.isdisjoint(names)
    assert set(discover(only="First_One, ").strategies) - names == {"shrink"}
    monkeypatch.setenv("EICOMPRESS_ONLY_PLUGINS", "second")
    assert set(discover().strategies) - names == {"grow"}
    assert set(discover(only="first-one,second").strategies) - names == {"shrink", "grow"}
    with pytest.raises(SpecError, match="must name installed packages, but got `secnd`: did you mean `second`"):
        discover(only="secnd")


def test_one_file_is_a_plug_in_for_an_experiment(tmp_path: Path) -> None:
    path = tmp_path / "trial.py"
    path.write_text(textwrap.dedent(STRATEGY.format(name="shrink", default=0.5)))
    registry = discover(path)
    assert registry.recipe([{"strategy": "shrink", "ratio": 0.2}]).steps[0].name == "shrink"
    assert str(registry.sources["strategy", "shrink"]) == "trial.py (a file)"
    assert "shrink" not in discover().strategies


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import a_module_that_is_not_there", "No module named 'a_module_that_is_not_there'"),
        (STRATEGY.format(name="shrink", default=0.95), "must be in"),
        ("EICOMPRESS_INTERFACE = 7", "but is made for interface 7: upgrade eicompress"),
    ],
)
def test_a_file_that_is_no_plug_in_is_refused(tmp_path: Path, code: str, said: str) -> None:
    path = tmp_path / "trial.py"
    path.write_text(textwrap.dedent(code))
    with pytest.raises(PluginError, match=r"(?s)trial\.py.*" + said):
        discover(path)
    with pytest.raises(SpecError, match="must name a Python file"):
        discover(tmp_path / "none.py")


@pytest.mark.parametrize(
    ("made_for", "remedy"), [("2", "upgrade eicompress"), ("0", "upgrade `other`, or change it as"), ("'x'", "upgrade")]
)
def test_a_plug_in_for_another_interface_is_kept_apart(site: Path, made_for: str, remedy: str) -> None:
    code = textwrap.dedent(STRATEGY.format(name="shrink", default=0.5))
    install(site, "other", code + f"\nEICOMPRESS_INTERFACE = {made_for}\n")
    install(site, "same", code.replace("shrink", "grow") + "\nEICOMPRESS_INTERFACE = 1\n")
    registry = discover()
    (reason,) = broken_of(registry, "other")
    assert reason.startswith("`other 1.2` must be made for interface 1") and remedy in reason.splitlines()[0]
    assert "grow" in registry.strategies
