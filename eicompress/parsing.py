"""What users write, read into plain values: sizes, times, names and numbers.

Each function takes what was written and the flag that it stands behind, and raises `SpecError`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from eicompress.errors import SpecError, listed, nearest, shortened
from eicompress.values import MEGABYTE

SIZES = {"B": 1, "KB": 1_000, "MB": MEGABYTE, "GB": 10**9, "KiB": 1_024, "MiB": 1_048_576, "GiB": 2**30}
"""Bytes of each unit of size."""
LATENCIES = {"us": 0.001, "ms": 1.0, "s": 1_000.0}
"""Milliseconds of each unit of latency."""
TIMES = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
"""Seconds of each unit of time."""

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([A-Za-z]+)")
_ADDRESS = re.compile(r"[\w.-]+:[0-9]{1,5}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+_.-]*")
_SECRET = re.compile(r"pass(?!file)|pwd|secret|token", re.IGNORECASE)
"""In the name of a URL's parameter."""
NAMED = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_-]{0,39})=(?P<value>.+)")
"""What belongs to one of several tasks; a path that looks so is written with `./` before it."""
LONGEST_NAME, LONGEST_PATH = 255, 4_000
"""Bytes that file systems take."""
_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Bounds:
    """The least and the largest number that something may be, both included unless `above` the least is meant.

    They are in the unit that is checked; a quantity writes them as `ends`.
    """

    least: float
    most: float
    above: bool = False
    ends: tuple[str, str] | None = None

    def __contains__(self, number: float) -> bool:
        return (self.least < number if self.above else self.least <= number) and number <= self.most

    def __str__(self) -> str:
        least, most = self.ends or (f"{self.least:,}", f"{self.most:,}")
        return f"above {least} and at most {most}" if self.above else f"from {least} to {most}"


def quantities(units: Mapping[str, float], least: str, most: str) -> Bounds:
    """The bounds of a number with a unit, given as they are written."""
    low, high = (_quantity(each, "bounds", units, least) for each in (least, most))
    return Bounds(low, high, ends=(least, most))


def size_mb(value: object, flag: str = "--budget", example: str = "1.91MB, 2MiB or 500KB") -> float:
    """Megabytes (10^6 bytes) of a size such as `1.91MB`, `2MiB` or `500KB`."""
    return _quantity(value, flag, SIZES, example) / MEGABYTE


def latency_ms(value: object, flag: str = "--latency") -> float:
    """Milliseconds of a latency such as `2ms`, `500us` or `1s`."""
    return _quantity(value, flag, LATENCIES, "2ms, 500us or 1s")


def seconds(value: object, flag: str = "--timeout") -> float:
    """Seconds of a time such as `2h`, `30m`, `90s` or `1h30m`."""
    example = "2h, 30m, 90s or 1h30m"
    parts = _QUANTITY.findall(str(value))
    if len(parts) < 2 or "".join("".join(part) for part in parts) != str(value).replace(" ", ""):
        return _quantity(value, flag, TIMES, example)
    return sum(_quantity("".join(part), flag, TIMES, example) for part in parts)


def size(value: object, flag: str, bounds: Bounds) -> str:
    """A size in MB; its bounds are in bytes."""
    found = size_mb(value, flag)
    _check_within(found * MEGABYTE, bounds, flag, value)
    return f"{_plain(found)}MB"


def memory(value: object, flag: str, bounds: Bounds) -> str:
    """A size of memory in MB; its bounds are in bytes."""
    found = size_mb(value, flag, "80MB, 64MiB or 900KB")
    _check_within(found * MEGABYTE, bounds, flag, value)
    return f"{_plain(found)}MB"


def latency(value: object, flag: str, bounds: Bounds) -> str:
    """A latency in ms."""
    found = latency_ms(value, flag)
    _check_within(found, bounds, flag, value)
    return f"{_plain(found)}ms"


def time(value: object, flag: str, bounds: Bounds) -> str:
    """A time in s."""
    found = seconds(value, flag)
    _check_within(found, bounds, flag, value)
    return f"{_plain(found)}s"


def objective(value: object, flag: str, usual: tuple[str, str]) -> str:
    """A metric, `smallest`, `fastest`, `reward`, or `pareto:` with two metrics.

    Of the two the first of the `usual` ones comes first. Which metrics there are, plug-ins know.
    """
    name, colon, written = (part.strip() for part in str(value).partition(":"))
    if name != "pareto":
        if colon or not name:
            raise SpecError(
                f"`{flag}` must be a metric, `smallest`, `fastest`, `reward` or `pareto:A,B`, but got "
                f"{shortened(str(value))}"
            )
        return name
    metrics = [each.strip() for each in written.split(",")] if colon else list(usual)
    if len(set(metrics)) != 2 or len(metrics) != 2 or not all(metrics):
        raise SpecError(
            f"`{flag}` must name two metrics to trade, but got {shortened(str(value))}: "
            f"write for example pareto:{','.join(usual)}"
        )
    return "pareto:" + ",".join(sorted(metrics, key=lambda metric: metric != usual[0]))


def limits(value: object, flag: str) -> tuple[str, ...]:
    """Bounds of metrics as `NAME=VALUE`, each in the metric's own unit."""
    found = {}
    for each in texts(value, flag):
        name, _, bound = (part.strip() for part in each.partition("="))
        number = _number(bound)
        if not (name and math.isfinite(number)):
            raise SpecError(
                f"`{flag}` must be a metric and a number in the metric's own unit, but got `{each}`: write for example "
                "energy_mj=3"
            )
        if name in found:
            raise SpecError(f"`{flag}` must name each metric once, but names `{name}` twice: leave one out")
        found[name] = f"{name}={number:.12g}"
    return tuple(found.values())


def study_name(value: object, flag: str = "--study") -> str:
    """A name that is one folder and no path."""
    name = str(value)
    if not _STUDY_NAME.fullmatch(name):
        raise SpecError(
            f"`{flag}` must be a name of letters, digits, `.`, `_` and `-`, without a path, "
            f"but got {shortened(name)}: choose a name, and give the folder with `--studies`"
        )
    return name


def switch(value: object, flag: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise SpecError(f"`{flag}` must be true or false, but got {value!r}")
    return value


def choice(value: object, flag: str, known: tuple[str, ...]) -> str:
    """One of the words that are known."""
    if value not in known:
        came = shortened(str(value))
        raise SpecError(f"`{flag}` must be one of {', '.join(known)}, but got {came}: {nearest(str(value), known)}")
    return str(value)


def number(value: object, flag: str, bounds: Bounds, what: str, example: str) -> float:
    """A number within bounds; `what` is what it is called."""
    found = math.nan if isinstance(value, bool) else _number(value)
    if found not in bounds:
        came = shortened(str(value))
        raise SpecError(f"`{flag}` must be a {what} {bounds}, but got {came}: write for example {example}")
    return found


def gpus(value: object, flag: str, bounds: Bounds) -> float:
    """How many GPUs: a whole number, or a share of one."""
    what, example = "whole number or a share of one GPU,", "1 or 0.5"
    found = number(value, flag, bounds, what, example)
    if found > 1 and not found.is_integer():
        came = shortened(str(value))
        raise SpecError(f"`{flag}` must be a {what} {bounds}, but got {came}: write for example {example}")
    return found


def whole(value: object, flag: str, bounds: Bounds) -> int:
    """A whole number within bounds."""
    try:
        found = None if isinstance(value, bool) else int(str(value))
    except ValueError:
        found = None
    if found is None or found not in bounds:
        raise SpecError(f"`{flag}` must be a whole number {bounds}, but got {shortened(str(value))}: give one of these")
    return found


def ray_address(value: object, flag: str) -> str:
    """`auto`, or host and port; empty for none."""
    if value and value != "auto" and not _ADDRESS.fullmatch(str(value)):
        raise SpecError(
            f"`{flag}` must be `auto`, or the host and port of a cluster that this machine is a node of, "
            f"but got {shortened(str(value))}: write for example 10.0.0.1:6379"
        )
    return str(value)


def text(value: object, flag: str) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise SpecError(f"`{flag}` must be a text, but got {shortened(str(value))}")
    return value


def texts(value: object, flag: str) -> tuple[str, ...]:
    """One text or path, or a list of them."""
    given = value if isinstance(value, list | tuple) else [value]
    found = [str(each) if isinstance(each, Path) else each for each in given]
    if not all(isinstance(each, str) and each for each in found):
        raise SpecError(f"`{flag}` must be a text or a list of texts, but got {shortened(str(value))}")
    return tuple(map(str, found))


def data(value: object, flag: str) -> str | tuple[str, ...]:
    """The name of a data set; or several as `NAME=DATA`, each with the name of its task."""
    if isinstance(value, str):
        return value
    found = texts(value, flag)
    if len(found) < 2:
        return "".join(found)
    plain = [each for each in found if not NAMED.fullmatch(each)]
    if plain:
        raise SpecError(
            f"several `{flag}` must each have the name of a task, NAME=DATA, but got {shortened(plain[0])}: write for "
            "example intents=my-data; or give one data set"
        )
    return tuple(f"{name}={source}" for name, source in named_texts(found, flag).items())


def by_task(value: object, flag: str) -> str | tuple[str, ...]:
    """One text; or several, each with the name of its task, `NAME=TEXT`, but for one that is for the other tasks."""
    if isinstance(value, str):
        return value
    found = texts(value, flag)
    plain = [each for each in found if not NAMED.fullmatch(each)]
    if len(plain) > 1:
        raise SpecError(
            f"several `{flag}` must each have the name of a task, NAME=VALUE, but for one that is for the other tasks, "
            f"but got {listed(plain)}: write for which task each is"
        )
    named_texts(found, flag)
    return found[0] if len(found) == 1 else found


def named_texts(values: Sequence[str], flag: str) -> dict[str, str]:
    """The texts by their names, of `NAME=TEXT`; those without a name are left out. No name twice."""
    found: dict[str, str] = {}
    for match in filter(None, map(NAMED.fullmatch, values)):
        if match["name"] in found:
            raise SpecError(
                f"`{flag}` must name each task once, but names `{match['name']}` twice: give one of them another name"
            )
        found[match["name"]] = match["value"]
    return found


def path(value: object, flag: str) -> str:
    """A path, as a text or as a `Path`."""
    found = text(str(value) if isinstance(value, Path) else value, flag)
    sizes = [len(name.encode("utf-8", "surrogatepass")) for name in Path(found).parts]
    if sum(sizes) > LONGEST_PATH or max(sizes, default=0) > LONGEST_NAME:
        raise SpecError(
            f"`{flag}` must be a path of at most {LONGEST_PATH:,} bytes, and {LONGEST_NAME} in each name, but got "
            f"{shortened(found)}"
        )
    return found


def storage(value: object, flag: str) -> str:
    """The URL of a database, without a password: it is shown, and written to `study.toml`.

    What comes before the last `@` counts as user and password, so that no password is missed that was not escaped.
    What is refused is not quoted.
    """
    url = text(value, flag)
    scheme, separator, rest = url.partition("://")
    if url and not (separator and _SCHEME.fullmatch(scheme)):
        raise SpecError(
            f"`{flag}` must be the URL of a database, but got a text without `://`: write for example "
            "postgresql://user@host/database"
        )
    user, at, _ = rest.rpartition("@")
    query = parse_qsl(rest.partition("?")[2], keep_blank_values=True)
    if (at and ":" in user) or any(_SECRET.search(name) for name, _ in query):
        raise SpecError(
            f"`{flag}` must have no password, since it is shown and kept, but has one (or a `:` before its last `@`, "
            "which is written %40): leave it out, and give it in `PGPASSWORD`, in ~/.pgpass or in another file that "
            "the database's driver reads"
        )
    return url


def _quantity(value: object, flag: str, units: Mapping[str, float], example: str) -> float:
    match = _QUANTITY.fullmatch(str(value).strip())
    by_lower = {unit.lower(): factor for unit, factor in units.items()}
    if not match or match[2].lower() not in by_lower:
        raise SpecError(
            f"`{flag}` must be a number above zero with a unit ({', '.join(units)}), but got {shortened(str(value))}: "
            f"write for example {example}"
        )
    number = float(match[1]) * by_lower[match[2].lower()]
    if not (0 < number < math.inf):
        raise SpecError(f"`{flag}` must be above zero, but got {shortened(str(value))}: write for example {example}")
    return number


def _check_within(found: float, bounds: Bounds, flag: str, value: object) -> None:
    if found not in bounds:
        raise SpecError(f"`{flag}` must be {bounds}, but got {shortened(str(value))}: give one of these")


def _number(value: object) -> float:
    """The number that was written; not a number where it is none."""
    try:
        return float(str(value))
    except ValueError:
        return math.nan


def _plain(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")
