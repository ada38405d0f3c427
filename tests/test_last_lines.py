"""The last lines of every command: no traceback where output, folder, memory or names are not as they should be."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from support import Finished, call, refusal

from catpref import predict, simulate, trials
from catpref._io import cache
from catpref.errors import BadInput, is_out_of_memory, shown
from catpref.perception import low_level
from catpref.perception.backbones import load_backbone
from catpref.perception.embeddings import embed
from catpref.perception.features import Features
from catpref.sessions import __main__ as sessions_door
from catpref.sessions import bids
from catpref.sessions.session import read_trials
from catpref.stimuli import __main__ as stimuli_door
from catpref.stimuli import images, photographs

COMMANDS = [f"-m catpref.{name}" for name in ("fit", "predict", "trials", "simulate", "stimuli", "sessions")]
COMMANDS += [f"experiments/{name}.py" for name in ("random_sampled", "fully_sampled", "adaptive", "pavlovia")]
COMMANDS += ["-m experiments.study"]
ROOT = Path(__file__).parents[1]
COOKED = "\x1b[31mmood\n\u202e"


def noise(side: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8))


def pictures(folder: Path) -> list[Path]:
    folder.mkdir()
    for name in "abc":
        noise(160, ord(name)).save(folder / f"{name}.png")
    return sorted(folder.iterdir())


def shell(command: str, arguments: str, redirect: str, cwd: Path = ROOT) -> Finished:
    """Run a command in bash, as a user who redirects its output."""
    script = command.replace("experiments/", f"{ROOT}/experiments/")
    line = f"{sys.executable} {script} {arguments} {redirect}; exit ${{PIPESTATUS[0]}}"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=cwd, env=environment)
    return Finished(done.returncode, done.stdout, done.stderr)


def test_every_command_goes_through_one_door() -> None:
    """What the next tests see of one script holds for all."""
    for command in COMMANDS:
        place = ROOT / command.removeprefix("-m ").removesuffix(".py").replace(".", "/")
        text = (place / "__main__.py" if place.is_dir() else place.with_suffix(".py")).read_text()
        assert text.rpartition('if __name__ == "__main__":\n')[2].startswith("    run("), command


def test_help_that_cannot_be_printed() -> None:
    full = "catpref: output: No space left on device\n"
    assert shell("-m catpref.trials", "--help", ">/dev/full") == (2, "", full)
    assert shell("-m catpref.trials", "--nonsense", "2>/dev/full") == (2, "", "")


LOGS = """
import logging, os, select, stat, sys
from catpref.command_line import log_to_terminal, run
def command(arguments):
    log_to_terminal()
    for part in range(3):
        logging.getLogger("catpref.x").info("part %d", part)
        if arguments and stat.S_ISFIFO(os.fstat(1).st_mode):  # until nobody reads any more
            reader = select.poll()
            reader.register(1, 0)
            reader.poll(200_000)
        print("warning", file=sys.stderr)
    open("done", "w").write("all")
    print("report")
run(command)
"""


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        ("| true", (141, "", "warning\n" * 3)),
        ("| head -1", (141, "part 0\n", "warning\n" * 3)),
        ("> /dev/full", (2, "", "warning\n" * 3 + "catpref: output: No space left on device\n")),
        (">&-", (0, "", "warning\n" * 3)),
        ("2>&-", (0, "part 0\npart 1\npart 2\nreport\n", "")),
        ("2>/dev/full", (0, "part 0\npart 1\npart 2\nreport\n", "")),
        (">&- 2>&- <&-", (0, "", "")),
        (">/dev/full 2>&1", (2, "", "")),
    ],
)
def test_the_work_is_done_though_nobody_can_be_told(tmp_path: Path, redirect: str, expected) -> None:
    (tmp_path / "logs.py").write_text(LOGS)
    waits = "until-nobody-reads" if redirect.startswith("|") else ""
    assert shell("logs.py", waits, redirect, tmp_path) == expected
    assert (tmp_path / "done").read_text() == "all"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_current_folder_that_is_gone_is_one_line(command: str, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    script = command.replace("experiments/", f"{ROOT}/experiments/")
    line = f"cd {tmp_path}/gone && rmdir ../gone && {sys.executable} {script} x"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment)
    said = "catpref: the current folder is not there any more; change to one that is\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


INTERRUPTING = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_during_the_imports_prints_nothing(command: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTING)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}", "INTERRUPT_AT": "catpref.command_line"}
    started = [sys.executable, *command.split(), "--help"]
    done = subprocess.run(started, capture_output=True, cwd=ROOT, env=environment)
    assert done.returncode in (-2, 130), done
    assert done.stdout == done.stderr == b""


def test_ctrl_c_while_a_command_runs_is_still_an_exception(tmp_path: Path) -> None:
    script = (
        "import os, signal\nfrom catpref.command_line import run\n"
        "def command(_):\n    try:\n        os.kill(os.getpid(), signal.SIGINT)\n"
        "    finally:\n        print('tidied up')\nrun(command)\n"
    )
    (tmp_path / "script.py").write_text(script)
    assert shell("script.py", "", "", tmp_path) == (130, "tidied up\n", "")


@pytest.mark.parametrize(
    "main", [predict.main, sessions_door.main, simulate.main, stimuli_door.main, trials.main]
)
def test_a_name_that_is_not_utf8_is_refused_at_once(main) -> None:
    said = refusal(lambda _: pytest.fail("it began"), "--stimuli", "bad\udcff")
    assert said == "catpref: 'bad\\udcff': is not plain text; rename the file or folder\n"
    assert "is not plain text" in refusal(main, "bad\udcff.csv")


def test_no_control_character_reaches_the_terminal(tmp_path: Path) -> None:
    assert shown(COOKED) == r"\x1b[31mmood\n\u202e"
    assert shown("süß 猫 x" * 50, 10) == "süß 猫 xsü…"

    def command(_: object) -> None:
        raise BadInput("a\x1b[2J\u202e\nb\udcff: odd")

    assert call(command) == (2, "", "catpref: a\\x1b[2J\\u202e b\\udcff: odd\n")
    (tmp_path / "s.csv").write_text(f'left_image,"{COOKED}",choice\na.png,,0\n')
    assert shown(COOKED) in refusal(sessions_door.main, "export", tmp_path / "s.csv", tmp_path / "bids")
    (tmp_path / "s.csv").write_text(f'left_image,"{COOKED}","{COOKED}"\na,b,c\n')
    assert shown(COOKED) in refusal(sessions_door.main, "export", tmp_path / "s.csv", tmp_path / "bids")


# ---- memory ------------------------------------------------------------------------------------------------


def torchs() -> Exception:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**50)
    return raised.value


def numpys() -> Exception:
    with pytest.raises(MemoryError) as raised:
        np.empty(2**55)
    return raised.value


@pytest.mark.parametrize(
    "problem",
    [
        MemoryError(),
        torchs(),
        numpys(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        OSError("out of memory error when reading image file"),
        OSError(12, "Cannot allocate memory"),
        cv2.error("(-4:Insufficient memory) Failed to allocate 1000 bytes in function 'OutOfMemoryError'"),
        RuntimeError("can't start new thread"),
    ],
    ids=lambda problem: type(problem).__name__,
)
def test_short_memory_is_said_as_such(problem: Exception) -> None:
    def command(_: object) -> None:
        raise problem

    assert is_out_of_memory(problem)
    assert refusal(command).startswith("catpref: not enough memory (")


def test_other_errors_are_not_taken_for_it() -> None:
    for problem in (
        RuntimeError("shapes cannot be multiplied"),
        FileNotFoundError(2, "gone", "out of memory.png"),
        BadInput("out of memory.csv: odd"),
    ):
        assert not is_out_of_memory(problem)


def test_import_blames_memory_and_not_the_photographs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / "photos")
    for problem in (MemoryError(), OSError("out of memory error when reading image file")):
        monkeypatch.setattr(images, "_to_rgb", lambda _, problem=problem: (_ for _ in ()).throw(problem))
        said = refusal(
            stimuli_door.main, "import", "--no-crop", str(tmp_path / "photos"), str(tmp_path / "set")
        )
        assert "not enough memory" in said and "damaged" not in said
    monkeypatch.undo()
    monkeypatch.setattr(photographs, "find_face", lambda _: (_ for _ in ()).throw(torchs()))
    assert "not enough memory" in refusal(stimuli_door.main, "import", tmp_path / "photos", tmp_path / "set")
    assert not (tmp_path / "set").exists()


LIMITED = """
import resource, sys
import numpy, cv2
from catpref.command_line import run
from catpref.stimuli.images import open_image
def command(arguments):
    image = arguments[0]
    open_image(image)  # loads all that is loaded once
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 20),) * 2)
    open_image(arguments[1])
run(command)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc on this system")
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
def test_a_good_photograph_is_not_damaged_where_memory_is_short(tmp_path: Path, suffix: str) -> None:
    photograph = noise(32)
    small, large = tmp_path / f"small.{suffix}", tmp_path / f"large.{suffix}"
    photograph.save(small)
    photograph.resize((3000, 3000)).save(large)
    (tmp_path / "limited.py").write_text(LIMITED)
    done = shell("limited.py", f"{small} {large}", "", tmp_path)
    assert done.code == 2 and done.err.startswith("catpref: not enough memory ("), done
    assert done.err.count("\n") == 1


# ---- cache -------------------------------------------------------------------------------------------------


def test_entries_of_the_wrong_length_are_made_again(tmp_path: Path) -> None:
    images, backbone = pictures(tmp_path / "set")[:1], load_backbone()

    def all_of_it() -> list[np.ndarray]:
        features = Features(images, backbone, 64, [0, 1], tmp_path).of([0])[0]
        embedding = embed(images, backbone, "global", tmp_path)
        return [
            embedding,
            low_level.luminance_and_contrast(images, tmp_path),
            *(one.numpy() for one in features),
        ]

    right = all_of_it()
    entries = [path for path in tmp_path.glob("??/*") if path.is_file()]
    assert len(entries) == 4
    for length in (0, 8, 20, 24):
        for entry in entries:
            cache.write(tmp_path, entry.name, np.ones(length, np.uint8))
        for ours, theirs in zip(right, all_of_it(), strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=1e-3)


def test_a_command_goes_on_without_its_cache(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    images = pictures(tmp_path / "set")
    without, withal = (low_level.luminance_and_contrast(images, where) for where in (None, tmp_path / "file"))
    np.testing.assert_array_equal(without, withal)
    assert caplog.text.count("--no-cache") == 1


# ---- BIDS --------------------------------------------------------------------------------------------------

COLUMNS = ["participant", "left_image", "right_image", "choice", "rt"]
FURTHER = ["response_time", "response_time_in_file", "source", "row", "tab\tand \\t"]


def written(folder: Path, columns: list[str], participant: str = "p01") -> Path:
    (folder / "set").mkdir(exist_ok=True)
    for name in "abc":
        (folder / "set" / f"{name}.png").touch()
    further = [f"{name} {row}" for row in (0, 1) for name in columns[len(COLUMNS) :]]
    half = len(further) // 2
    rows = [[participant, "a.png", "b.png", "0", "0.5", *further[:half]]]
    rows += [[participant, "b.png", "c.png", "1", "0.25", *further[half:]]]
    text = "\n".join(",".join(row) for row in [columns, *rows]) + "\n"
    path = folder / f"{participant}.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("further", [FURTHER, FURTHER[:1], FURTHER[2:3], FURTHER[1:], []])
def test_columns_called_as_ours_are_renamed_and_read_back(tmp_path: Path, further: list[str]) -> None:
    path = written(tmp_path, COLUMNS + further)
    folder = tmp_path / "bids"
    code = "from catpref.sessions.__main__ import main; from catpref.command_line import run; run(main)"
    command = [sys.executable, "-c", code, "export", path, folder, "--stimuli", tmp_path / "set"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *said, tsv = done.stdout.splitlines()
    assert len(said) == len({"response_time", "source", "row"}.intersection(further))
    (first, _) = (read_trials([Path(one)], tmp_path / "set")[0] for one in (tsv, path))
    assert list(first["rt"]) == [0.5, 0.25]
    assert len(set(first.columns)) == len(first.columns) == len(COLUMNS) + len(further) + 2
    values = {cell for name in first for cell in first[name]}
    assert {f"{name} {row}" for name in further for row in (0, 1)} <= values
    header = Path(tsv).read_text().splitlines()[0].split("\t")
    assert len(header) == len(COLUMNS) + len(further), header


def test_labels_that_differ_in_case_only_are_one_file(tmp_path: Path) -> None:
    paths = [written(tmp_path, COLUMNS, participant) for participant in ("p01", "P01")]
    said = refusal(sessions_door.main, "export", *paths, tmp_path / "bids", "--stimuli", tmp_path / "set")
    assert "sub-p01" in said and "sub-P01" in said and "ignore case" in said
    assert not (tmp_path / "bids").exists()


def test_an_export_takes_time_in_proportion_to_its_trials(tmp_path: Path) -> None:
    """With one scan of the table for each participant, 3,000 of them took 9 million comparisons and more."""
    (tmp_path / "set").mkdir()
    for name in "ab":
        (tmp_path / "set" / f"{name}.png").touch()
    used = []
    for people in (500, 4000):
        rows = "".join(f"p{person},a.png,b.png,0,0.5\n" * 5 for person in range(people))
        (tmp_path / "big.csv").write_text(",".join(COLUMNS) + "\n" + rows)
        table = read_trials([tmp_path / "big.csv"], tmp_path / "set")[0]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        files = list(bids._files(table))
        used.append(resource.getrusage(resource.RUSAGE_SELF).ru_utime - before)
        assert len(files) == people and sum(len(rows) for _, rows in files) == len(table)
    assert used[1] < 24 * used[0] + 0.05, "eight times the people"
