"""Files that are whole or absent: written beside their final name, synced, renamed."""

import contextlib
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal

Format = Literal["safetensors", "state_dict", "onnx", "torch_export"]
EXPORTED: dict[Format, str] = {  # the files of mode=export
    "safetensors": "model.safetensors",
    "state_dict": "state_dict.pt",
    "onnx": "model.onnx",
    "torch_export": "model.pt2",
}
PART = re.compile(r"\.(\d+)\.part$")  # the end of the name that process so-and-so writes to


class CannotWrite(OSError):
    """A file could not be written; the one that was there before, and every other, is as it was."""

    def __init__(self, path: Path, needed: int, error: OSError):
        self.path, self.needed, self.reason = path, needed, error.strerror or str(error)
        super().__init__(error.errno, self.reason, str(path))

    def __str__(self) -> str:
        size = f", it takes {self.needed:,} bytes or more" if self.needed else ""
        return f"cannot write {self.path}: {self.reason}{size}; older files are whole"


class _Noting:
    """A file that notes what went wrong: torch.save turns an error of the disk into one of its own."""

    def __init__(self, file: IO[bytes]):
        self._file, self.asked = file, 0
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: Any) -> int:
        self.asked += len(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise


def write_whole(
    path: Path,
    write: Callable[[IO[bytes]], object],
    verify: Callable[[Path], object] | None = None,
    keep: Path | None = None,
) -> None:
    """Let `write` fill `path`. A crash or a full disk at any moment leaves the old file or the new one, never a part.

    Args:
        verify: looks at the new file before it takes the place of the old one; raises what is wrong with it.
        keep: where the old file stays.

    Raises:
        CannotWrite: the disk is full or the folder cannot be written. The old file stands.
    """
    part = _part(path)
    noted = None
    try:
        with part.open("wb") as file:
            noted = _Noting(file)
            write(noted)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        if verify:
            verify(part)
        if keep and path.exists():
            _link(path, keep)
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise CannotWrite(path, noted.asked if noted else 0, error) from error
    except Exception as error:
        if noted and noted.error:
            raise CannotWrite(path, noted.asked, noted.error) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write(text.encode()))


def create_text(path: Path, text: str) -> None:
    """Write `text` to `path` where nothing is yet. Of several that try at once one succeeds; a crash leaves no part.

    Raises:
        FileExistsError: something is there; it stays as it is.
        CannotWrite: the disk is full or the folder cannot be written.
    """
    beside = _part(path)
    write_text(beside, text)
    try:
        os.link(beside, path)  # unlike a rename it never replaces
    except FileExistsError:
        raise
    except OSError:  # a file system without links: taken first, filled a moment later
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove what processes that are no more were writing in `folder` when they ended."""
    for path in folder.glob("*.part"):
        found = PART.search(path.name)
        if found and not is_running(int(found[1])):
            path.unlink(missing_ok=True)


def is_running(pid: int) -> bool:
    """True if a process of this machine has the number `pid` and was not killed already."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"  # killed, not yet reaped
    except OSError:
        return True


def _part(path: Path) -> Path:
    """The name beside `path` that this process writes to."""
    return path.with_name(f"{path.name}.{os.getpid()}.part")


def _link(path: Path, name: Path) -> None:
    """Let the file at `path` be at `name` too. Where there are no links it moves, for the moment until the next one."""
    beside = _part(name)
    try:
        beside.unlink(missing_ok=True)
        os.link(path, beside)
        beside.replace(name)
    except OSError:
        path.replace(name)


def _sync_folder(folder: Path) -> None:
    """The rename itself survives a power cut only once the folder is synced (POSIX)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def kind(path: Path) -> str:
    """The noun for `path`, links followed: file, folder, pipe, socket, device, link to nothing, or nothing."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return "link to nothing" if path.is_symlink() else "nothing"
    nouns = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    return nouns.get(stat.S_IFMT(mode), "device")
