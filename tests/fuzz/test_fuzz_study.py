"""What was asked for: `study.toml`, and the settings of a search."""

from pathlib import Path

import pytest
import tomli_w
from fuzzing import ends_well, fuzzed, mutated_bytes
from hypothesis import given
from hypothesis import strategies as st

from eicompress.declaration import declared
from eicompress.settings import SearchSettings
from eicompress.spec import read_search
from eicompress.study.plan import known_spec

pytestmark = pytest.mark.slow

GOOD = {"model": "m", "data": "d", "budget": "2MB", "seed": 3, "limit": ["energy_mj=3"], "objective": "quality"}
HOSTILE = (
    *("true", "false", "0", "-1", "1", "1.5", "inf", "nan", "1e30", "99999999999999999999", '""', '" "', '"x"', "[]"),
    *('["a"]', '["a=1"]', "[1]", "{}", "{ a = 1 }", "[[]]", "1979-05-27", '"\\u0000"', '"1e400MB"', '"..MB"', '"٣MB"'),
    *('"²"', '"pareto:a"', '"pareto:"', '"reward"', '"=="', '"1h1h1h"', '"../x"', "9" * 5_000, '"' + "9" * 5_000 + '"'),
    '"' + "9" * 400 + 'MB"',
)


@st.composite
def study_toml(draw: st.DrawFn) -> bytes:
    asked = {
        name: draw(st.sampled_from(HOSTILE))
        for name in draw(st.sets(st.sampled_from([*declared(SearchSettings)]), max_size=5))
    }
    lines = [f"{name} = {value}" for name, value in asked.items()]
    lines += [
        line
        for line in tomli_w.dumps(GOOD).splitlines()
        if line.partition(" ")[0] not in asked and draw(st.integers(0, 9))
    ]
    head = draw(st.sampled_from(("[asked]", "[asked]", "[asked]", "[[asked]]", "asked = 3", "")))
    return "\n".join([head, *lines]).encode()


whole = b"[asked]\n" + tomli_w.dumps(GOOD).encode()


@fuzzed(300)
@given(study_toml() | mutated_bytes(whole))
def test_what_a_study_asked_for_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, written: bytes) -> None:
    folder: Path = tmp_path_factory.getbasetemp() / "studies" / "mine"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_bytes(written)
    with ends_well():
        spec = known_spec("mine", str(folder.parent))
        _use(spec)


anything = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.lists(st.text(max_size=5))
)
some_words = st.sampled_from(
    ("2MB", "1e9MB", "2h", "1.5", "a=1", "1", "-1", "pareto:size,quality", "tpe", "reward", "x" * 300)
)


@fuzzed(500)
@given(st.dictionaries(st.sampled_from([*declared(SearchSettings)]), anything | some_words, max_size=6))
def test_what_a_search_is_asked_for_is_read_or_refused(asked: dict[str, object]) -> None:
    with ends_well():
        _use(read_search({"model": "m", "data": "d", "budget": "2MB", **asked}))


def _use(spec: object) -> None:
    for name in ("budgets", "timeout_s", "columns", "wanted", "plugin", "folder"):
        getattr(spec, name)
    tomli_w.dumps(spec.to_toml())  # type: ignore[attr-defined]
