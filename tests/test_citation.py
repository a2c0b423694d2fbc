"""CITATION.cff has the version and the license of the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from lys_storage import __version__

ROOT = Path(__file__).parents[1]


def test_the_citation_is_of_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    text = (ROOT / "CITATION.cff").read_text(encoding="utf8")
    fields = dict(re.findall(r"^([a-z-]+): (.+)$", text, re.MULTILINE))
    assert fields["cff-version"] == "1.2.0"
    assert (fields["title"], fields["version"], fields["license"]) == (project["name"], __version__, project["license"])
