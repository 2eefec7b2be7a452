"""Figures as PNG files, drawn by a browser that is on this machine: the same drawing as in the report."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import plotly.graph_objects as go

from eicompress.cache import write_whole
from eicompress.errors import SpecError
from eicompress.manifest import check_outside
from eicompress.reporting.page import document, drawn

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WIDTH = 900
MARGIN = 40
"""Pixels that the page puts around a figure, at most."""
PATIENCE_S = 60
FLAGS = ("--headless", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=2")


def write_pictures(figures: Mapping[str, go.Figure], folder: Path) -> list[Path]:
    """One `<name>.png` a figure, 1800 pixels wide, on white.

    Raises `SpecError` without a browser, and for a folder inside an artifact.
    """
    check_outside(folder / "figure.png", "--png")
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        raise SpecError("`--png` needs Chromium or Chrome on the path to draw with: install one, or leave it out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"`--png` must be a folder to write to, but got `{folder}`: {error.strerror}") from error
    return [_written(browser, figure, folder / f"{name}.png") for name, figure in figures.items()]


def flags(user: int) -> tuple[str, ...]:
    """What Chromium is started with; for root it must be without its sandbox, which refuses root."""
    return (*FLAGS, "--no-sandbox") if user == 0 else FLAGS


def _written(browser: str, figure: go.Figure, path: Path) -> Path:
    with tempfile.TemporaryDirectory() as scratch:
        page, shot = Path(scratch) / "page.html", Path(scratch) / "shot.png"
        page.write_text(document(path.stem, drawn(figure)), encoding="utf-8")
        size = f"--window-size={WIDTH},{figure.layout.height + MARGIN}"
        wait, profile = "--virtual-time-budget=10000", f"--user-data-dir={scratch}"
        command = [browser, *flags(os.geteuid()), size, wait, profile, f"--screenshot={shot}", page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        if not shot.is_file():
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise SpecError(f"`{browser}` must be able to draw a page, but could not: {last}")
        write_whole(path, shot.read_bytes())
    return path
