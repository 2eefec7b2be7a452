"""The page as a browser sees it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_report_data import found, said, trial

from eicompress.reporting.page import page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--dump-dom",
)
WHEN = "<script>setTimeout(() => document.body.dataset.ms = performance.now(), 0)</script></body>"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_study_of_200_trials_opens_at_once_and_without_complaint(tmp_path: Path) -> None:
    trials = [trial(1.0 + at / 100, 0.5 + at / 200, 0.7 + at / 1000 if at < 100 else None) for at in range(200)]
    told = said(found(*trials))
    (tmp_path / "report.html").write_text(page(told).replace("</body>", WHEN), encoding="utf-8")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"file://{tmp_path / 'report.html'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count('class="main-svg"') >= 2 * 4  # plotly draws each of four figures in layers
    (took,) = re.findall(r'data-ms="([\d.]+)"', done.stdout)
    assert float(took) < 2000
