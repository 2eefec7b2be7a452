"""What the fuzzers in `tests/fuzz` share: the one rule, hostile values, and how long a run is.

The rule: whatever comes through a door ends in one `EicompressError` or in success, in bounded time and memory.
A short run is part of the slow tests and always the same. `EICOMPRESS_FUZZ=20000` makes a long one of as many
executions a test, with other values each time. `studies/fuzz/run.py` does so for a given time:

    python studies/fuzz/run.py --minutes 60 --door data
"""

import copy
import faulthandler
import json
import os
import resource
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psutil
import pytest

from eicompress.errors import EicompressError

hypothesis = pytest.importorskip("hypothesis", reason="the fuzzers need hypothesis, of the extra `dev`")
st = hypothesis.strategies

Test = TypeVar("Test", bound=Callable[..., None])

SECONDS = 30
"""Of processor time that one execution may take, so that other work on the machine does not count."""
STUCK = 180
"""Seconds after which the process is ended, where nothing is computed or code below Python does not come back."""
BYTES = 3 * 2**30
"""Of address space that one execution may add."""

_EXECUTIONS = int(os.environ.get("EICOMPRESS_FUZZ", "0"))


def fuzzed(executions: int) -> Callable[[Test], Test]:
    """Settings of a fuzzer, with the executions of its short run."""
    return hypothesis.settings(
        max_examples=_EXECUTIONS or executions,
        derandomize=not _EXECUTIONS,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


@contextmanager
def ends_well() -> Iterator[None]:
    """Let an `EicompressError` pass, and fail for anything else that is raised inside, a Rust panic too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + BYTES, hard))
    before = signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    faulthandler.dump_traceback_later(STUCK, exit=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except EicompressError as error:
        assert 10 < len(str(error)) < 5_000, "a message says what must hold, and is no dump of what came"
        str(error).encode()  # no lone surrogate, which no terminal prints
    except (AssertionError, KeyboardInterrupt) as error:
        traceback.clear_frames(error.__traceback__)  # hypothesis keeps what failed, and with it all that was read
        raise
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise AssertionError(f"{type(error).__name__}: {str(error)[:500]}") from error
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _too_long(*_: object) -> None:
    raise AssertionError(f"an execution took more than {SECONDS} seconds of processor time")


HOSTILE = (
    *("null", "true", "false", "0", "-1", "1", "2", "1.5", "1e400", "-0.0", "NaN", "-Infinity", "1e30"),
    *(
        '""',
        '" "',
        '"1"',
        '"x"',
        '"nan"',
        '"\\ud800"',
        '"\\u0000"',
        '"..\\/x"',
        "[]",
        "{}",
        "[1]",
        '["a", "b"]',
        "[[]]",
    ),
    *('{"a": 1}', '{"0": "a"}', "99999999999999999999", "9" * 5_000, "[" * 100_000 + "]" * 100_000),
)
"""Values of JSON as they are written, each of which some reader did not expect."""

hostile = st.sampled_from(HOSTILE) | st.integers(-70, 70).map(str) | st.text(max_size=8).map(json.dumps)


def written(value: Any) -> str:
    """JSON, with `Raw` values as they are."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {written(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value)


class Raw(str):
    """A value as it is written."""


@st.composite
def mutated_json(draw: st.DrawFn, value: Any, most: int = 3) -> str:
    """JSON with a few values of it, at any depth, replaced, taken out or written twice."""
    changed = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, most))):
        holder: Any = changed
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(holder[key], dict | list) and draw(st.integers(0, 3)):
                holder = holder[key]
                continue
            what = draw(st.sampled_from(("replace", "replace", "replace", "drop", "twice")))
            if what == "drop":
                del holder[key]
            elif what == "twice" and isinstance(holder, list):
                holder.append(holder[key])
            else:
                holder[key] = Raw(draw(hostile))
            break
    return written(changed)


PATTERNS = (r"([a-z ]+)+\d", "(a+)+$", "(", "", "(?=a)", "a{99999}", ".*")
"""Regular expressions that take exponential time, are none, or match nothing or all."""


@st.composite
def mutated_tokenizer(draw: st.DrawFn, described: dict[str, Any]) -> str:
    """A `tokenizer.json` with a few values of it changed, or a pattern by which it splits or replaces texts."""
    if draw(st.integers(0, 3)):
        return draw(mutated_json(described))
    by = {"pattern": {"Regex": draw(st.sampled_from(PATTERNS))}}
    split = {"type": "Split", **by, "behavior": "Isolated", "invert": False}
    put = draw(st.sampled_from(({"pre_tokenizer": split}, {"normalizer": {"type": "Replace", **by, "content": "a"}})))
    return json.dumps({**described, **put})


@st.composite
def mutated_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """A file with a few bytes changed, cut out or put in, or cut off."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(len(changed) - 1, 0)))
        what = draw(st.sampled_from(("change", "change", "cut out", "put in", "cut off")))
        if what == "change" and changed:
            changed[at] = draw(st.integers(0, 255))
        elif what == "cut out":
            del changed[at : at + draw(st.integers(1, 64))]
        elif what == "put in":
            changed[at:at] = draw(st.binary(min_size=1, max_size=16))
        elif draw(st.booleans()):
            del changed[at:]
    return bytes(changed)
