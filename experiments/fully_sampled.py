"""Run a fully-sampled session: all pairs of a few images, each once."""

from catpref.commands import run
from catpref.trials import FULL
from experiments.command import experiment

if __name__ == "__main__":
    run(experiment(FULL, "python experiments/fully_sampled.py"))
