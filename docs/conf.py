"""The documentation's site: Markdown read by MyST, drawn by Furo. `make docs` builds it; a warning is an error."""

import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import reference_pages  # noqa: E402

project = "eicompress"
author = "the eicompress authors"
release = metadata.version("eicompress")
extensions = ["myst_parser"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_show_copyright = False
html_title = f"eicompress {release}"

reference_pages.write(HERE / "reference")
