"""report.html: runs, sweeps and races as one page that opens without a server and without a network.

The page is a template, a style, a script, plotly.js (which the package plotly ships, here compressed) and the data as
JSON. Texts of runs reach the document as text alone: the script has no way to write markup.
"""

import base64
import gzip
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path

from kasoku import home
from kasoku.faults import ConfigError, Fault
from kasoku.files import write_text
from kasoku.report import content

FILE = "report.html"
HERE = Path(__file__).parent


def write(path: Path, folders: Sequence[Path], command: str) -> None:
    """Write the page of what lies in `folders` to `path`, whole or not at all; `command` writes it again.

    Raises:
        ConfigError: there is no run in them, or plotly is not installed.
        CannotWrite: the file cannot be written.
    """
    data = content.gather(folders) | {"command": command, "written": f"{datetime.now():%Y-%m-%d %H:%M}"}
    write_text(path, page(data))


def leave(directory: Path, say: Callable[[str], None]) -> None:
    """Write report.html in the `directory` of a sweep or race and say where it is.

    A page that cannot be written is said in one line: it is no reason for a sweep to fail.
    """
    try:
        write(directory / FILE, [directory], home.typed("report", str(directory), "--html"))
        say(f"the report is {directory / FILE}")
    except Exception as error:
        say(f"report.html was not written: {type(error).__name__}: {' '.join(str(error).split())}")


def page(data: content.Data) -> str:
    """The page that shows `data`."""
    parts = {
        "style": (HERE / "page.css").read_text(),
        "data": inert(data),
        "plotly": _plotly(),
        "script": (HERE / "page.js").read_text(),
    }
    template = (HERE / "page.html").read_text()
    for name in parts:  # cut apart first, so that no part is searched for the marks of another
        template = template.replace(f"<!-- {name} -->", f"\0{name}\0")
    pieces = template.split("\0")
    return "".join(parts.get(piece, piece) if i % 2 else piece for i, piece in enumerate(pieces))


def inert(data: content.Data) -> str:
    """`data` as JSON in which no character can end the element that holds it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


@cache
def _plotly() -> str:
    """plotly.js, compressed, in base64: a third of its size."""
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError:
        raise ConfigError(Fault("--html", "report.html", "needs plotly", "pip install plotly")) from None
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 6, mtime=0)).decode()
