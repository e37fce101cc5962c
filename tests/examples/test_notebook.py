"""The notebook in examples/ runs from its first cell to its last, and is kept without outputs."""

import ast
import os
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

nbformat = pytest.importorskip("nbformat", reason="pip install nbformat nbclient ipykernel")
nbclient = pytest.importorskip("nbclient", reason="pip install nbformat nbclient ipykernel")
NOTEBOOK = nbformat.read(ROOT / "examples" / "notebook.ipynb", as_version=4)


def test_the_notebook_is_kept_without_outputs():
    codes = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
    assert codes
    assert not [cell for cell in codes if cell.outputs or cell.execution_count is not None]


@pytest.mark.proof
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    client = nbclient.NotebookClient(NOTEBOOK.copy(), timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    _, fits, drawn, _, loaded, loop = [cell for cell in client.execute().cells if cell.cell_type == "code"]
    said = "".join(output.text for output in fits.outputs if output.get("name") == "stdout")
    assert [line.split()[0] for line in said.splitlines()] == ["adamw", "fast"]
    assert "image/png" in drawn.outputs[-1].data
    assert loaded.outputs[-1].data["text/plain"] == "torch.Size([1, 10])"
    first, last = ast.literal_eval(loop.outputs[0].data["text/plain"])
    assert first == 0.1
    assert 0 < last < 0.01
    assert "image/png" in loop.outputs[-1].data
