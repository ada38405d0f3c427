"""Run a random-sampled session: every trial has two images of its own."""

from catpref.commands import run
from catpref.trials import RANDOM
from experiments.command import experiment

if __name__ == "__main__":
    run(experiment(RANDOM, "python experiments/random_sampled.py"))
