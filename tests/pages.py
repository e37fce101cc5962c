"""The fenced blocks of a Markdown page, and a shell session in which they run one after the other.

    ```bash                     commands; a ```text block right below is what they print
    ```console                  lines with `$ ` are commands, those between what they print
    ```python                   the page's program, run once as a whole; a ```text block right below is what it prints
    ```LANGUAGE title="PATH"    the text of that file, in the page's folder

Comments direct what follows: `<!-- run: WORDS -->` adds words to each kasoku command of the next block,
`<!-- every run: WORDS -->` to those of the page. `<!-- slow: WORDS -->` is a run for the proofs alone, and
`<!-- skip: REASON -->` leaves the next block's commands to be composed.
"""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT, forks

SHELL, PRINTED = ("bash", "console"), "text"
ALONE = ("report", "dashboard", "new", "schema", "--version", "--help")  # first words of a command that takes no others
MARK = "== end of a block =="
SHIM = """#!{python} -IS
import json, os, socket, sys
words, name = sys.argv[1:], os.path.basename(sys.argv[0])
if name != "kasoku" and words[:2] == ["-m", "kasoku"]:
    name, words = "kasoku", words[2:]
elif name != "kasoku" and words and words[0].endswith("train.py"):
    name, words = "kasoku", words[1:]
elif name != "kasoku" and not (words and words[0].endswith(".py")):
    os.execv({python!r}, [{python!r}, *words])
asked = socket.socket(socket.AF_UNIX)
asked.connect({socket!r})
asked.sendall(json.dumps([name, words, os.getcwd(), dict(os.environ)]).encode())
asked.shutdown(socket.SHUT_WR)
code, said = json.loads(asked.makefile("rb").read())
sys.stdout.write(said)
sys.stdout.flush()
sys.exit(code if code >= 0 else 128 - code)
"""


@dataclass(frozen=True)
class Block:
    """A fenced block: the line it begins at, its language, the file that it is, its text and directives."""

    line: int
    language: str
    title: str
    text: str
    run: str
    skip: str
    slow: bool

    @property
    def steps(self) -> list[tuple[str, str]]:
        """The commands of a shell's block, each with what is printed in the block itself."""
        if self.language != "console":
            return [(self.text, "")]
        parts = re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]
        return [_typed_and_printed(part) for part in parts]


def _typed_and_printed(part: str) -> tuple[str, str]:
    typed = re.match(r"(?:.*\\\n)*.*\n?", part)
    assert typed is not None
    return typed[0], part[typed.end() :]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of `page` in order."""
    return list(_blocks(page.read_text().splitlines()))


def _blocks(lines: Sequence[str]) -> Iterator[Block]:
    every, directed, number = "", dict[str, str](), 0
    while number < len(lines):
        line = lines[number]
        if said := re.fullmatch(r"<!-- (every run|run|slow|skip): ?(.*) -->", line):
            directed[said[1]] = said[2]
            every = directed.pop("every run", every)
        if opened := re.match(r"```(\w*)(?: title=\"(.*)\")?", line):
            end = next(n for n in range(number + 1, len(lines)) if lines[n].startswith("```"))
            text = "".join(f"{line}\n" for line in lines[number + 1 : end])
            words = directed.get("run", directed.get("slow", every))
            skip = directed.get("skip", "")
            yield Block(number + 1, opened[1], opened[2] or "", text, words, skip, "slow" in directed)
            directed, number = {}, end
        number += 1


def printed_below(found: Sequence[Block], lines: Sequence[str], number: int) -> str:
    """The text block right below block `number`, if there is one."""
    block = found[number]
    below = found[number + 1] if number + 1 < len(found) else None
    end = block.line + block.text.count("\n") + 1
    if below is None or below.language != PRINTED or any(line.strip() for line in lines[end : below.line - 1]):
        return ""
    return below.text


def commands(text: str) -> list[tuple[str, list[str]]]:
    """The kasoku commands in a shell's text, each as the variables before it and its words."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;>")
        lexer.whitespace_split = True
        before: list[str] = []
        words: list[str] | None = None
        for token in [*lexer, ";"]:
            if token and not token.strip("&|;>"):
                found += [(" ".join(before), words)] if words is not None else []
                before, words = [], None
            elif words is not None:
                words.append(token)
            elif token == "kasoku" or token.endswith("train.py"):
                words = []
            elif re.match(r"[A-Z_]+=", token):
                before.append(token)
    return found


class Session:
    """A shell in `folder` that keeps its present folder and variables from block to block.

    `kasoku` and `python FILE` there are forks of a process that has the imports done.
    """

    def __init__(self, folder: Path):
        self.folder, self._room = folder / "page", folder
        self.folder.mkdir()
        bin_folder, path = folder / "bin", str(folder / "socket")
        bin_folder.mkdir()
        for name in ("kasoku", "python", "python3"):
            (bin_folder / name).write_text(SHIM.format(python=sys.executable, socket=path))
            (bin_folder / name).chmod(0o755)
        source = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
        variables = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": source, "COLUMNS": "110"}
        self._env = {name: value for name, value in os.environ.items() if name != "KASOKU_TRUST"} | variables
        (folder / "state").write_text(f"cd {shlex.quote(str(self.folder))}\n")
        self._words: list[str] = []
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(path)
        self._door.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def shell(self, text: str, words: str = "") -> subprocess.CompletedProcess[str]:
        """Run `text` with bash; kasoku's commands in it get `words` besides."""
        self._words = shlex.split(words)
        state = shlex.quote(str(self._room / "state"))
        keep = f'trap \'{{ export -p; printf "cd %q\\n" "$PWD"; }} > {state}\' EXIT'
        script = f"source {state}\n{keep}\nset -e\n{text}"
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.run(["bash", "-c", script], env=self._env, text=True, timeout=600, check=False, **output)

    def close(self) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _serve(self) -> None:
        while True:
            try:
                asked, _ = self._door.accept()
            except OSError:
                return
            with asked:
                name, words, cwd, env = json.loads(asked.makefile("rb").read())
                asked.sendall(json.dumps(self._run(name, words, cwd, env)).encode())

    def _run(self, name: str, words: list[str], cwd: str, env: dict[str, str]) -> tuple[int, str]:
        if name == "kasoku":
            installed = Path(sys.executable).parent / "kasoku"
            program = installed if installed.exists() else ROOT / "train.py"
            more = [] if words[:1] and words[0] in ALONE else self._words
        else:
            program, words, more = Path(cwd, words[0]), words[1:], []
        done = forks().run([*words, *more], Path(cwd), env, program=program, merged=True)
        said = done.stdout.replace("python train.py", "kasoku")
        for word in self._words:  # as if they had not been added
            said = said.replace(f" {word}", "")
        return done.returncode, said


NUMBER = r"(?<![A-Za-z_])-?(?:\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?|inf|nan)(?![A-Za-z])s?"


def shape(text: str) -> list[str]:
    """The lines of `text` with numbers as #, paths as PATH, bars as one sign, no frames of tables."""
    lines = []
    for line in re.sub(r"\x1b\[[0-9;]*m|[│┃━─┏┳┓┡╇┩└┴┘├┼┤╭╮╰╯┬┌┐]", " ", text).splitlines():
        line = re.sub(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[0-9a-f]{6}", "ID", line)
        line = re.sub(r"(?<!\w)(?:\.{0,2}/|runs/|sweeps/)[\w./-]+", "PATH", line)
        line = re.sub(r" *[▁▂▃▄▅▆▇█]+( +[▁▂▃▄▅▆▇█]+)*", "▇", line)
        lines.append(" ".join(re.sub(NUMBER, "#", line).split()))
    return [line for line in lines if line]


def differs(expected: str, got: str) -> str:
    """The first line of `expected` that `got` has not in its place, in shape; "" if there is none.

    A line of `...` stands for any lines, at the end of another line for any rest of it.
    """
    rest, skips = shape(got), False
    for wanted in shape(expected):
        if wanted == "...":
            skips = True
            continue
        place = next((n for n, line in enumerate(rest) if _alike(wanted, line)), None)
        if place is None or (place and not skips):
            return f"expected {wanted!r}, got {rest[:3] if not skips else 'no such line'}"
        rest, skips = rest[place + 1 :], False
    return f"not expected: {rest[0]!r}" if rest and not skips else ""


def _alike(wanted: str, line: str) -> bool:
    start, dots, end = wanted.partition("...")
    return line.startswith(start) and line.endswith(end) if dots else wanted == line
