"""Docstrings have a subject."""

import ast
import re

from tests.conftest import ROOT

HEADLESS = re.compile(r"(What|Whether|Where|How|Which|Why|When|Who)\b[^?]*$")


def test_no_docstring_opens_with_a_headless_clause():
    found = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                first = (ast.get_docstring(node) or "").partition("\n")[0]
                if HEADLESS.match(first):
                    found.append(f"{path.relative_to(ROOT)}: {first}")
    assert not found
