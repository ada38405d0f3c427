"""Finding files by name, as the system would, but never outside the stimulus folder."""

import posixpath
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catpref.errors import BadInput
from catpref.stimuli.folder import LONGEST_NAME, StimulusFolder

PARTS = (
    "",
    ".",
    "..",
    "sub",
    "a.png",
    "b",
    "b.png",
    "secret",
    "set",
    "link.png",
    "to-sub",
    "out",
    "outer",
    "loop",
)
NAMES = st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map("/".join)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A folder with links within it, out of it, back into it and to themselves, itself reached by a link."""
    outside = tmp_path_factory.mktemp("outside")
    folder = outside / "set"
    (folder / "sub").mkdir(parents=True)
    for name in ("../secret", "a.png", "b.png", "b.jpg", "sub/a.png", "sub/b"):
        (folder / name).touch()
    for name, target in {
        "link.png": "sub/a.png",
        "to-sub": "sub",
        "out": "../secret",
        "outer": "..",
        "loop": "loop",
        "sub/set": "../../set",
        "sub/link.png": "../link.png",
    }.items():
        (folder / name).symlink_to(target)
    (outside / "way").symlink_to("set")
    return outside / "way"


def lies_in(root: Path, name: str) -> Path | None:
    """What the system finds, if it may be found."""
    try:
        path = (root / name.lstrip("/")).resolve()
    except RuntimeError:  # a loop
        return None
    return path if path.is_relative_to(root) else None


@settings(deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=6))
def test_names_are_found_where_the_system_finds_them_or_refused(tree, names):
    """One finder for many names remembers the way, and says the same of each of them."""
    finder, root = StimulusFolder(tree), tree.resolve()
    for name in names:
        path = lies_in(root, name)
        if name.startswith("/") or posixpath.normpath(name).startswith("..") or not (path and path.is_file()):
            with pytest.raises(BadInput):
                finder.file(name)
        else:
            assert finder.file(name) == str(path)


def test_a_name_that_no_system_opens_is_refused(tree):
    finder = StimulusFolder(tree)
    dots = "./" * (LONGEST_NAME // 2)
    assert finder.file(dots[:-6] + "a.png") == str(tree.resolve() / "a.png")
    for name in (dots + "a.png", "nul\0.png"):
        with pytest.raises(BadInput, match="not a usable file name"):
            finder.file(name)
