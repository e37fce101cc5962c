"""docs/reference is what tools/reference.py writes, and says of each key what its file and its checks say."""

import importlib.util
import json
import sys

import pytest

from tests.conftest import ROOT


def load_tool():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    tool = sys.modules["reference"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


reference = load_tool()
pytestmark = pytest.mark.xdist_group("reference")  # the pages take seconds


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return reference.pages()


@pytest.mark.proof
def test_the_pages_are_current(pages):
    assert reference.differing(pages) == [], "python tools/reference.py"


@pytest.mark.proof
def test_a_page_that_is_stale_missing_or_left_over_is_told(pages):
    assert reference.differing(pages | {"optimizer.md": "another"}) == ["optimizer.md"]
    assert reference.differing(pages | {"new.md": "new"}) == ["new.md"]
    assert reference.differing({name: text for name, text in pages.items() if name != "race.md"}) == ["race.md"]


@pytest.mark.proof
def test_every_group_option_and_key_of_the_golden_list_is_there(pages):
    golden = json.loads((ROOT / "tests" / "golden.json").read_text())
    root = golden.pop("root")
    assert set(golden) == set(reference.GROUPS)
    for group, options in golden.items():
        for option in options:
            assert f"\n## {option}\n" in pages[f"{group}.md"]
    keys = [key for key in root if key not in reference.GROUPS and f"| `{key}` |" not in pages["index.md"]]
    assert keys == []


@pytest.mark.proof
@pytest.mark.parametrize(
    ("page", "row"),
    [
        ("optimizer.md", "| `optimizer.lr` | `0.05` | > 0; 0.005 to 0.5 | a positive finite number |"),
        ("scheduler.md", "| `scheduler.gamma` | `0.1` | (0, 1\\]; what the lr is multiplied by at each drop |"),
        ("sweeper.md", "| one of none asha hyperband median wilcoxon |"),
        ("race.md", "null: 5, from seven challengers on 6 | a whole number >= 4 or null |"),
        ("trainer.md", "| `trainer.precision` | `32-true` | auto: bf16-mixed where the device has units for it"),
        ("optimizer.md", "<br>linear: factor = effective / reference; SGD, Goyal et al. 2017"),
    ],
)
def test_a_key_has_its_default_its_comment_and_its_range(pages, page, row):
    assert row in pages[page]


def test_a_comment_belongs_to_the_key_beside_above_or_below_it():
    text = "# Head\n#\n#   a command\na: 1  # of a\n      # goes on\n# of b\nb:\n  c: [1, 2]  # of c\n  d: x\n"
    head, entries = reference.read(text)
    assert head == ["Head", "", "  a command"]
    assert [(e.path, e.value, e.comment) for e in entries] == [
        (("a",), "1", ["of a", "goes on"]),
        (("b",), "", ["of b"]),
        (("b", "c"), "[1, 2]", ["of c"]),
        (("b", "d"), "x", []),
    ]
