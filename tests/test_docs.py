"""Every command and program of README and docs runs, and prints what the page says, in shape; see tests/pages.py.

The README and the tutorial are in the suite, the other pages among the proofs. What cannot run here says why, and is
composed.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from kasoku.command.main import SUBCOMMANDS
from kasoku.config import diagnose, trust
from kasoku.config.compose import Command, as_current
from kasoku.config.overrides import opened
from kasoku.search import order as orders
from tests.conftest import CONF, ROOT
from tests.pages import MARK, SHELL, Block, Session, blocks, commands, differs, printed_below

QUICK = ("README.md", "docs/tutorial.md")
TRANSLATED = {"docs/ja/tutorial.md": "docs/tutorial.md"}
DOCS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))
OTHERS = [page for page in DOCS if page not in (*QUICK, *TRANSLATED) and "\n```bash" in (ROOT / page).read_text()]
PAGES = ["README.md", *(page for page in DOCS if page not in TRANSLATED)]
LANGUAGES = {*SHELL, "python", "yaml", "toml", "text", "mermaid"}


def page_blocks(page: str) -> list[Block]:
    return blocks(ROOT / page)


def unrun(page: str) -> list[tuple[str, str, list[str]]]:
    """The commands of a page that cannot run here: the place, the variables before it, its words."""
    found = [block for block in page_blocks(page) if block.language in SHELL and block.skip]
    return [(f"{page}:{block.line}", *one) for block in found for one in commands(block.text)]


@pytest.fixture
def session(tmp_path: Path):
    started = Session(tmp_path)
    yield started
    started.close()


def check_page(page: str, session: Session, whole: bool) -> None:
    """Run the page's blocks one after the other, the slow ones where the `whole` of it is asked for."""
    found, lines = page_blocks(page), (ROOT / page).read_text().splitlines()
    programs = [number for number, block in enumerate(found) if block.language == "python" and not block.title]
    for number, block in enumerate(found):
        where = f"{page}:{block.line}"
        if block.title and not block.skip:
            file = session.folder / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
        elif block.language in SHELL and not block.skip and (whole or not block.slow):
            for typed, printed in block.steps:
                done = session.shell(typed, block.run)
                expected = printed or printed_below(found, lines, number)
                code = 2 if expected.startswith("wrong configuration") else 0
                assert done.returncode == code, f"{where}: {typed}\n{done.stdout}"
                different = differs(expected, done.stdout) if expected else ""
                assert not different, f"{where}: {different}\n{done.stdout}"
        elif programs and number == programs[-1]:
            check_program(page, [found[n] for n in programs], session)


def check_program(page: str, parts: list[Block], session: Session) -> None:
    """The python blocks of a page as one program, which prints a mark after each."""
    lines, found = (ROOT / page).read_text().splitlines(), page_blocks(page)
    run = [part for part in parts if not part.skip]
    (session.folder / "page.py").write_text("".join(f"{part.text}\nprint({MARK!r})\n" for part in run))
    done = session.shell("python page.py")
    assert done.returncode == 0, f"{page}: {done.stdout}"
    for part, printed in zip(run, done.stdout.split(MARK), strict=False):
        expected = printed_below(found, lines, found.index(part))
        different = differs(expected, printed) if expected else ""
        assert not different, f"{page}:{part.line}: {different}\n{printed}"


@pytest.mark.parametrize("page", QUICK)
def test_a_page_does_what_it_says(page, session):
    check_page(page, session, whole=False)


@pytest.mark.long
@pytest.mark.parametrize("page", [*QUICK, *OTHERS])
def test_the_whole_of_every_page_does_what_it_says(page, session):
    check_page(page, session, whole=True)


@pytest.mark.proof
@pytest.mark.parametrize("page", [page for page in PAGES if unrun(page)])
def test_what_does_not_run_here_composes(page):
    """So that no key that was renamed stays in it."""
    for where, before, words in unrun(page):
        if words[:1] and words[0] in SUBCOMMANDS:
            continue
        names = dict(pair.split("=", 1) for pair in before.split()).get("KASOKU_TRUST", "")
        allowed = (*trust.trusted(CONF), *filter(None, names.split(",")))
        words = opened([word for word in words if not word.startswith("resume=")])
        assert diagnose.examine(words, CONF, None, allowed) == [], where
        if "-m" in words:
            read_order(words, allowed)


def read_order(words: Sequence[str], allowed: Sequence[str]) -> None:
    """The sweep of a command, judged as before its first trial."""
    asked = Command(words, CONF)
    cfg = diagnose.composed(asked, allowed)
    with as_current(cfg):
        assert orders.check_jobs(orders.read(cfg, asked.loader, asked.lines, allowed, asked.typed)) == []


@pytest.mark.parametrize("page", ["README.md", *DOCS])
def test_every_block_is_of_a_kind_that_is_run_or_written(page):
    for block in page_blocks(page):
        assert block.language in LANGUAGES, f"{page}:{block.line}: {block.language}"
        assert block.title or block.language not in ("yaml", "toml"), f"{page}:{block.line} is no file"


@pytest.mark.parametrize("page", TRANSLATED)
def test_a_translated_page_has_the_same_blocks(page):
    ours, theirs = (
        [(b.language, b.title, b.text, b.run, b.skip, b.slow) for b in page_blocks(name) if b.language != "text"]
        for name in (page, TRANSLATED[page])
    )
    assert ours == theirs


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", *DOCS])
def test_every_link_leads_to_a_file(page):
    folder = (ROOT / page).parent
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link}
    assert not [link for link in links if link and not (folder / link).exists()]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200
