"""The reader of the documents' blocks: what it takes for alike, and what it does not let pass."""

from pathlib import Path

import pytest

from tests.pages import Session, blocks, commands, differs, printed_below, shape

PAGE = """# Page

<!-- every run: trainer=cpu -->
```bash
kasoku a=1
```

```text
done
```

<!-- run: seed=1 -->
```console
$ kasoku b=2 \\
  c=3
out
$ kasoku d=4
```

<!-- skip: needs SLURM -->
```bash
kasoku e=5
```

words between

```text
not printed by it
```

<!-- slow: -->
```python title="own.py"
x = 1
```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "page.md").write_text(PAGE)
    return tmp_path / "page.md"


def test_blocks_have_their_language_their_file_and_what_directs_them(page):
    found = [(b.language, b.title, b.run, b.skip, b.slow) for b in blocks(page)]
    assert found == [
        ("bash", "", "trainer=cpu", "", False),
        ("text", "", "trainer=cpu", "", False),
        ("console", "", "seed=1", "", False),
        ("bash", "", "trainer=cpu", "needs SLURM", False),
        ("text", "", "trainer=cpu", "", False),
        ("python", "own.py", "", "", True),
    ]


def test_what_is_printed_stands_in_the_block_or_right_below(page):
    found, lines = blocks(page), page.read_text().splitlines()
    assert [printed_below(found, lines, n) for n in (0, 3)] == ["done\n", ""]
    assert found[2].steps == [("kasoku b=2 \\\n  c=3\n", "out\n"), ("kasoku d=4\n", "")]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("kasoku optimizer=sgd  # why", [("", ["optimizer=sgd"])]),
        ("KASOKU_TRUST=mine kasoku model=a && cd x", [("KASOKU_TRUST=mine", ["model=a"])]),
        ("torchrun --nnodes=4 \\\n  train.py trainer=ddp", [("", ["trainer=ddp"])]),
        ("kasoku -m 'a=tag(log,interval(1,2))' | head", [("", ["-m", "a=tag(log,interval(1,2))"])]),
        ("kasoku a=1; kasoku b=2", [("", ["a=1"]), ("", ["b=2"])]),
    ],
)
def test_the_commands_of_a_line(line, found):
    assert commands(line) == found


def test_numbers_paths_bars_and_frames_are_shape():
    assert shape("00:00:01 epoch 2  lr 1.5e-05  val/acc 0.97, 1,024 samples, inf") == [
        "#:#:# epoch # lr # val/acc #, # samples, #"
    ]
    assert shape("in runs/train/2026-11-24_23-57-20_2e149c and /tmp/x") == ["in PATH and PATH"]
    assert shape("│ train/2026-11-24_23-57-20_2e149c │ 1 │\n└──┘") == ["train/ID #"]
    assert shape("lr | ▂▄█ ▇▇\nlr |█") == ["lr |▇", "lr |▇"]


@pytest.mark.parametrize(
    ("expected", "got", "is_alike"),
    [
        ("a 1\nb 2\n", "a 10\nb 3.5\n", True),
        ("a 1\n...\nz\n", "a 2\nb\nc\nz\n", True),
        ("a: x ... y\n", "a: x b c y\n", True),
        ("a\n", "a\nb\n", False),
        ("a\nb\n", "a\n", False),
        ("a\nc\n", "a\nb\nc\n", False),
        ("a\n...\nz\n", "a\nb\n", False),
        ("lr 0.1\n", "learning rate 0.1\n", False),
    ],
)
def test_another_line_a_missing_or_a_new_one_differs(expected, got, is_alike):
    assert (differs(expected, got) == "") is is_alike


def test_a_session_keeps_its_folder_and_its_variables(tmp_path):
    session = Session(tmp_path)
    try:
        assert session.shell("mkdir inside; cd inside; export WORD='two words'").returncode == 0
        assert session.shell('echo "$WORD"; basename "$PWD"').stdout == "two words\ninside\n"
        assert session.shell("false; echo not reached").returncode == 1
        done = session.shell("kasoku optimizer=nestrov", "seed=1")
        assert done.returncode == 2
        assert "did you mean nesterov?" in done.stdout
    finally:
        session.close()
