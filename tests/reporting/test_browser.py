"""The pages as a browser sees them."""

import struct
from pathlib import Path

import pytest
from browser import browser, needs_browser
from test_figures import TAKEN_APART
from test_report_data import found, said, trial

from eicompress.errors import SpecError
from eicompress.reporting import png
from eicompress.reporting.page import page
from eicompress.reporting.png import write_pictures
from eicompress.reporting.search_figures import quality_against
from eicompress.study.objective import built_in

pytestmark = [pytest.mark.slow, needs_browser]


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)], ids=["desk", "phone in the dark"])
def test_a_study_of_200_trials_is_drawn_without_complaint(tmp_path: Path, width: int, dark: bool) -> None:
    trials = [trial(1.0 + at / 100, 0.5 + at / 200, 0.7 + at / 1000 if at < 100 else None) for at in range(200)]
    study = found(*trials, *TAKEN_APART.records.values())
    (tmp_path / "report.html").write_text(page(said(study)), encoding="utf-8")
    with browser(width, 900, *(["--force-dark-mode"] if dark else [])) as window:
        window.open(f"file://{tmp_path / 'report.html'}")
        figures = window.run("return document.querySelectorAll('.figure').length")
        assert figures >= 4
        for place in range(figures):
            # Each is drawn when it comes near.
            window.run(f"document.querySelectorAll('.figure')[{place}].scrollIntoView()")
            window.wait(f"return document.querySelectorAll('.figure')[{place}].matches('.js-plotly-plot')")
        # Nothing sticks out of the page to the right.
        assert window.run("return document.documentElement.scrollWidth <= window.innerWidth")
        assert window.complaints() == []


def test_a_figure_is_written_as_a_picture(tmp_path: Path) -> None:
    (path,) = write_pictures({"bytes": quality_against(said(TAKEN_APART), built_in()["size_mb"])}, tmp_path / "new")
    header = path.read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    assert struct.unpack(">I", header[16:20])[0] == 2 * png.WIDTH


@pytest.mark.parametrize(("user", "sandboxed"), [(0, False), (1000, True)])
def test_only_root_draws_without_a_sandbox(user: int, sandboxed: bool) -> None:
    assert ("--no-sandbox" not in png.flags(user)) == sandboxed


def test_without_a_browser_it_is_said_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpecError, match="Chromium"):
        write_pictures({}, tmp_path)


def test_a_folder_for_pictures_that_is_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "chromium")
    (tmp_path / "file").touch()
    with pytest.raises(SpecError, match=r"`--png` must be a folder to write to, but got `.*file`: File exists"):
        write_pictures({}, tmp_path / "file")
