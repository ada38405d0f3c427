"""Run a fully-sampled session: all pairs of a few images, each once, or with --trials a balanced subset."""

from catpref.command_line import run
from catpref.design.trial_list import FULL
from catpref.lab.command import experiment

if __name__ == "__main__":
    run(experiment(FULL, "python experiments/fully_sampled.py"))
