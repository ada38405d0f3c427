"""``python -m catpref.trials``: make the trial list of one session."""

from collections.abc import Sequence

from catpref._io.outputs import output_file
from catpref.command_line import Parser, add_list_options, run
from catpref.design.designs import full_or_incomplete, list_trials
from catpref.design.trial_list import BLOCK, RANDOM, write_trial_list


def main(arguments: Sequence[str]) -> None:
    """Write a trial list."""
    parser = Parser(
        "python -m catpref.trials",
        "Make the trial list of one session from a stimulus folder.",
        "python -m catpref.trials full --stimuli stimuli/cats --images 50 --repeats 60 --out trials.csv",
    )
    parser.add_argument(
        "design",
        choices=("random", "full"),
        help="random: no image twice; full: all pairs of a few images, or a balanced subset",
    )
    parser.add_argument("--stimuli", required=True, help="the stimulus folder")
    parser.add_argument("--out", required=True, metavar="FILE", help="where to write the list, a CSV")
    add_list_options(parser)
    parser.add_argument("--seed")
    options = parser.parse_args(arguments)
    design = RANDOM if options.design == "random" else full_or_incomplete(options.images, options.trials)
    with output_file(options.out, "trial list") as file:
        trials = list_trials(
            options.stimuli,
            design,
            images=options.images,
            trials=options.trials,
            repeats=options.repeats or 0,
            block=options.block or BLOCK,
            seed=options.seed,
            catch=options.catch or 0,
        )
        write_trial_list(file, trials)
    print(f"{options.out}: {len(trials)} trials, {trials[-1].block + 1} blocks")


if __name__ == "__main__":
    run(main)
