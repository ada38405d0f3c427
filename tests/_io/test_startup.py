import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("main", "rarely"),
    [("catpref/fit.py", True), ("experiments/adaptive.py", False), ("scripts/of_a_user.py", False)],
)
def test_only_commands_search_rarely_for_cycles(main: str, rarely: bool) -> None:
    code = (
        "import gc, sys; usual = gc.get_threshold()\n"
        f"sys.modules['__main__'].__file__ = {str(ROOT / main)!r}\n"
        "import catpref; print(gc.get_threshold() != usual)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [str(rarely)]
