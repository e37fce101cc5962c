"""Hooks of mkdocs.yml: folders in the navigation, and the documents that lie outside docs/.

A folder in `nav` stands for its pages. CONTRIBUTING.md and its like become pages below project/, and links between
documents, which are right for a reader of the repository, are made right for the site; a link to a file of code keeps
its words alone.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
OUTSIDE = {
    "bench/RESULTS.md": "project/results.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of a folder in the place of its name."""
    config.nav = [_opened(item, Path(config.docs_dir)) for item in config.nav or []]
    return config


def _opened(item: Any, docs: Path) -> Any:
    if not isinstance(item, dict):
        return item
    [(title, inside)] = item.items()
    return {title: _pages(docs, inside) if isinstance(inside, str) and inside.endswith("/") else inside}


def _pages(docs: Path, folder: str) -> list[str]:
    """The pages of a folder, its index first."""
    made = [page for page in OUTSIDE.values() if page.startswith(folder)]
    there = [str(path.relative_to(docs)) for path in (docs / folder).glob("*.md")]
    return sorted([*made, *there], key=lambda page: (not page.endswith("/index.md"), page))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents that lie outside."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead each link to where its file is in the site."""
    here = page.file.src_uri
    source = next((name for name, made in OUTSIDE.items() if made == here), f"docs/{here}")

    def led(found: re.Match[str]) -> str:
        bang, words, link, anchor = found[1], found[2], found[3], found[4] or ""
        if "://" in link:
            return found[0]
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        place = OUTSIDE.get(file, file.removeprefix("docs/") if file.startswith("docs/") else "")
        if not place:
            return words
        return f"{bang}[{words}]({posixpath.relpath(place, posixpath.dirname(here) or '.')}{anchor})"

    return LINK.sub(led, markdown)
