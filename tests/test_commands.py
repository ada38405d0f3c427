import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support import Finished, call

from catpref._io.progress import progress
from catpref.command_line import Parser, non_negative, positive
from catpref.errors import BadInput


def raising(problem: BaseException) -> Finished:
    def command(_: Sequence[str]) -> None:
        raise problem

    return call(command)


def test_a_command_that_works_exits_with_0() -> None:
    assert call(lambda _: print("done")) == (0, "done\n", "")


def test_bad_input_is_one_line_and_code_2() -> None:
    assert raising(BadInput("a.csv: row 3\n\tis odd")) == (2, "", "catpref: a.csv: row 3 is odd\n")


def test_a_failing_file_system_is_one_line_and_code_2(tmp_path: Path) -> None:
    done = call(lambda _: (tmp_path / ("x" * 300)).is_dir() and None)
    assert done.code == 2 and done.err.count("\n") == 1
    assert done.err.endswith("xxx: File name too long\n")
    assert raising(OSError("odd")).err == "catpref: output: odd\n"


def test_too_little_memory_is_one_line_and_code_2() -> None:
    done = raising(MemoryError("3 TiB"))
    assert done.code == 2 and done.err.startswith("catpref: not enough memory (3 TiB)")


def test_a_name_that_is_no_text_is_one_line_and_code_2() -> None:
    done = call(lambda _: "bad\udcff.png".encode() and None)
    assert done == (2, "", "catpref: 'bad\\udcff.png': is not plain text; rename the file or folder\n")


def test_ctrl_c_is_code_130_without_a_word() -> None:
    assert raising(KeyboardInterrupt()) == (130, "", "")


def test_ctrl_c_where_python_ignores_what_is_raised_is_not_lost() -> None:
    program = """
import signal, time
from catpref.command_line import run

class Interrupted:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        for _ in range(10):
            pass

def work(arguments):
    _ = Interrupted()
    del _
    time.sleep(30)
    print("worked on")

signal.signal(signal.SIGINT, signal.default_int_handler)
run(work)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_fault_of_our_own_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())


SCRIPT = "from catpref.command_line import run\nrun(lambda _: print('─' * {length}))"


def script(length: int, redirect: str, encoding: str = "utf-8") -> Finished:
    done = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {redirect}; exit ${{PIPESTATUS[0]}}', sys.executable,
         SCRIPT.format(length=length)],
        env={"PYTHONIOENCODING": encoding, "PATH": "/usr/bin:/bin"}, capture_output=True,
    )  # fmt: skip
    return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_a_reader_that_has_enough_is_no_error() -> None:
    assert script(1_000_000, "| true") == (141, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_behind_the_output_is_one_line() -> None:
    assert script(3, "> /dev/full") == (2, "", "catpref: output: No space left on device\n")


def test_a_terminal_without_the_letters_gets_their_codes() -> None:
    assert script(2, "", "ascii") == (0, "\\u2500\\u2500\n", "")


def parsed(arguments: Sequence[str]) -> None:
    parser = Parser("python -m catpref.x", "Does x.", "python -m catpref.x --n 3")
    parser.add_argument("--n", type=positive)
    parser.add_argument("--seed", type=non_negative)
    print(parser.parse_args(arguments))


@pytest.mark.parametrize(
    "line", ["--n 0", "--n -1", "--n x", "--n 1.5", "--seed -1", "--seed 4294967296", "--seed", "--odd", "y"]
)
def test_wrong_arguments_are_one_line_without_the_usage(line: str) -> None:
    done = call(parsed, *line.split())
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.endswith("(see python -m catpref.x --help)\n")


def test_whole_numbers_are_taken() -> None:
    assert call(parsed, "--n", "1", "--seed", "0").out == "Namespace(n=1, seed=0)\n"
    assert call(parsed, "--seed", str(2**32 - 1)).code == 0


def test_help_ends_with_an_example() -> None:
    done = call(parsed, "--help")
    assert done.code == 0 and done.out.endswith("example:\n  python -m catpref.x --n 3\n")


def test_progress_is_silent_where_nobody_watches(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(3), "counting")) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")
    assert progress([], "x", total=3).disable
