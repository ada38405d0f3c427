"""The notebook of docs/ runs from its first cell to its last."""

from pathlib import Path

import nbclient
import nbformat
import pytest
from support import cache_home, small_study

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebooks" / "from_session_to_ranking.ipynb"


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home()))
    study = small_study(tmp_path / "demo")
    (tmp_path / "demo" / "new_cats").symlink_to(study.parent / "cats")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=400, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("held-out choices" in str(output) for output in said)
