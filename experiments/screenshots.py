"""Saves a picture of every screen of a session, so that anyone can look at them."""

from collections.abc import Sequence
from pathlib import Path

from catpref.commands import Parser, run
from catpref.stimuli import find_images, image_path, open_image
from experiments.command import check_psychopy


def main(arguments: Sequence[str]) -> None:
    """Save instructions.png, fixation.png, trial.png, break.png, end.png and stopped.png."""
    parser = Parser(
        "python -m experiments.screenshots",
        "Save a picture of every screen of a session, as large as the screen.",
        "python -m experiments.screenshots --stimuli stimuli/cats --out screenshots",
    )
    parser.add_argument("--stimuli", type=Path, required=True, metavar="DIR", help="the stimulus folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the pictures go")
    parser.add_argument("--windowed", action="store_true", help="do not fill the screen")
    options = parser.parse_args(arguments)
    names = find_images(options.stimuli)
    images = [open_image(image_path(options.stimuli, name)) for name in (names[0], names[-1])]

    check_psychopy()
    from experiments.screens import Screens
    from experiments.stage import Stage
    from experiments.texts import load_texts

    texts = load_texts()
    stage = Stage(texts.keys.stop, options.windowed)
    screens = Screens(stage.window, texts)
    screens.place(screens.fit(images[0]), screens.fit(images[1]))
    options.out.mkdir(parents=True, exist_ok=True)
    for name, prepare in {
        "instructions": lambda: screens.page(texts.instructions.fill(trials=1225)),
        "fixation": lambda: screens.fixation,
        "trial": lambda: screens.trial,
        "break": lambda: screens.page(texts.pause.fill(done=3, blocks=13), 300 / 1225),
        "end": lambda: screens.page(texts.end),
        "stopped": lambda: screens.page(texts.stopped.fill(done=217, trials=1225)),
    }.items():
        prepare()()
        stage.window.getMovieFrame(buffer="back").save(options.out / f"{name}.png")
        stage.window.flip()
        print(options.out / f"{name}.png")
    stage.close()


if __name__ == "__main__":
    run(main)
