"""The documents as a site: builds with --strict, asks no network for anything, has every page in its navigation."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytest.importorskip("material", reason="pip install mkdocs-material")
pytestmark = [pytest.mark.proof, pytest.mark.xdist_group("site")]
FROM_OUTSIDE = r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return folder


def test_it_loads_nothing_from_elsewhere(site):
    found = [(path.name, link) for path in site.rglob("*.html") for link in re.findall(FROM_OUTSIDE, path.read_text())]
    assert found == []
    assert 'class="mermaid"' not in "".join(path.read_text() for path in site.rglob("*.html"))  # its script is a CDN's
    assert not [path for path in site.rglob("*.css") if re.search(r"url\((?:https?:)?//", path.read_text())]


def test_every_page_is_in_the_navigation(site):
    contents = (site / "index.html").read_text()
    pages = [str(path.relative_to(site)) for path in site.rglob("*.html")]
    assert len(pages) > 30
    assert [page for page in pages if page not in ("404.html", "index.html") and f'href="{page}"' not in contents] == []


def test_a_link_that_leaves_docs_leads_to_the_page_made_of_it(site):
    assert 'href="../project/results.html"' in (site / "how-to" / "race.html").read_text()
    assert 'href="../docs/' not in (site / "project" / "changelog.html").read_text()


def test_the_search_works_on_files(site):
    name, _, index = (site / "search" / "search_index.js").read_text().partition(" = ")
    assert name == "var __index"
    assert "スイープ" in "".join(page["text"] for page in json.loads(index)["docs"])
    assert "javascripts/iframe-worker.js" in (site / "index.html").read_text()
