"""Draw the rooms of kasoku and who imports whom, read from the imports, into docs/architecture.md.

python tools/rooms.py            writes the picture
python tools/rooms.py --check    exit code 1 if the document has another one

An arrow that two others make up is left out: search -> command -> training stands for search -> training too.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "kasoku"
DOCUMENT = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: written by tools/rooms.py -->\n", "<!-- end of rooms -->\n"

Arrows = dict[str, set[str]]


def main() -> int:
    """Write the picture, or check it; the exit code."""
    text = DOCUMENT.read_text()
    head, _, rest = text.partition(BEGIN)
    new = f"{head}{BEGIN}{picture(imports())}{END}{rest.partition(END)[2]}"
    if "--check" not in sys.argv:
        DOCUMENT.write_text(new)
    elif new != text:
        print(f"the picture in {DOCUMENT.relative_to(ROOT)} is not that of the imports: python tools/rooms.py")
        return 1
    return 0


def imports() -> Arrows:
    """Room -> the rooms that it imports. A room is a package or a file at the top of kasoku."""
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE or not path.stem.startswith("__")]
    rooms = {path: path.relative_to(PACKAGE).with_suffix("").parts[0] for path in files}
    arrows: Arrows = {room: set() for room in rooms.values()}
    for path, room in rooms.items():
        arrows[room] |= {other for other in _named(path) if other in arrows and other != room}
    door = ROOT / "src" / "hydra_plugins" / "kasoku" / "sweeper.py"
    return arrows | {"hydra_plugins": {room for room in _named(door) if room in arrows}}


def _named(path: Path) -> Iterator[str]:
    """The rooms that the imports of a file name."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name}" for name in names]
        yield from (name.split(".")[1] for name in names if name.startswith("kasoku."))


def picture(arrows: Arrows) -> str:
    """The arrows as a mermaid flowchart, those that others make up left out."""
    lines = ["```mermaid", "flowchart TD"]
    for room in sorted(arrows):
        others = arrows[room] - {far for near in arrows[room] for far in reached(near, arrows)}
        lines += [f"    {room} --> {other}" for other in sorted(others)]
    return "\n".join([*lines, "```", ""])


def reached(room: str, arrows: Arrows) -> set[str]:
    """The rooms that `room` imports, themselves or through others.

    Raises:
        ValueError: a room reaches itself, so there is a circle.
    """
    found: set[str] = set()
    waiting = list(arrows[room])
    while waiting:
        other = waiting.pop()
        if other == room:
            raise ValueError(f"a circle of rooms goes through {room}")
        if other not in found:
            found.add(other)
            waiting += arrows[other]
    return found


if __name__ == "__main__":
    sys.exit(main())
