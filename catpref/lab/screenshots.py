"""Saves a picture of every screen of a session, so that anyone can look at them."""

from collections.abc import Sequence
from pathlib import Path

from catpref._io.outputs import output_folder
from catpref.command_line import Parser, warn_on_terminal
from catpref.lab.command import check_psychopy
from catpref.lab.practice import practice_pairs
from catpref.lab.texts import ENGLISH, load_texts
from catpref.stimuli.images import find_images, image_path, open_image
from catpref.stimuli.scrambling import scramble


def main(arguments: Sequence[str]) -> None:
    """Save a picture of each screen, from the instructions to the end."""
    parser = Parser(
        "python -m experiments.screenshots",
        "Save a picture of every screen of a session, as large as the screen.",
        "python -m experiments.screenshots --stimuli stimuli/cats --out screenshots",
    )
    parser.add_argument("--stimuli", type=Path, required=True, metavar="DIR", help="the stimulus folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the pictures go")
    parser.add_argument(
        "--texts", type=Path, metavar="FILE", default=ENGLISH, help=f"default: {ENGLISH.name}"
    )
    parser.add_argument("--photodiode", action="store_true", help="with the patch at the lower left")
    parser.add_argument("--windowed", action="store_true", help="do not fill the screen")
    options = parser.parse_args(arguments)
    warn_on_terminal()
    texts = load_texts(options.texts)
    names = find_images(options.stimuli)
    first, last = (open_image(image_path(options.stimuli, name)) for name in (names[0], names[-1]))

    check_psychopy()
    from catpref.lab.fonts import check_fonts
    from catpref.lab.screens import Draw, Screens
    from catpref.lab.stage import Stage

    check_fonts(options.texts, texts)
    stage = Stage(texts.keys.stop, options.windowed)
    screens = Screens(stage.window, texts, photodiode=options.photodiode)

    def pair(left, right) -> Draw:
        screens.place(screens.fit(left), screens.fit(right))
        return screens.trial

    problem = "sessions/p01_fully-sampled_1/session.csv: cannot be written (No space left on device)"
    with output_folder(options.out, "screenshots") as folder:
        for name, prepare in {
            "instructions": lambda: screens.page(texts.instructions.fill(trials=1298)),
            "practice": lambda: screens.page(texts.practice.fill(practice=4)),
            "practice_trial": lambda: pair(*next(practice_pairs(1))),
            "begin": lambda: screens.page(texts.begin.fill(trials=1298)),
            "fixation": lambda: screens.fixation,
            "trial": lambda: pair(first, last),
            "catch": lambda: pair(scramble(first), last),
            "break": lambda: screens.page(texts.pause.fill(done=3, blocks=13), 300 / 1298),
            "progress": lambda: screens.page(texts.progress.fill(percent=62), 0.62),
            "resume": lambda: screens.page(texts.resume.fill(done=217, trials=1298), 217 / 1298),
            "unsaved": lambda: screens.page(texts.unsaved.fill(done=217, problem=problem)),
            "stopped": lambda: screens.page(texts.stopped.fill(done=217, trials=1298)),
            "part_end": lambda: screens.page(texts.part_end.fill(part=1, parts=3)),
            "end": lambda: screens.page(texts.end),
        }.items():
            prepare()()
            stage.window.getMovieFrame(buffer="back").save(folder / f"{name}.png")
            stage.window.flip()
    stage.close()
    print(options.out)
