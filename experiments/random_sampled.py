"""Run a random-sampled session: every trial has two images of its own."""

from catpref.command_line import run
from catpref.design.trial_list import RANDOM
from catpref.lab.command import experiment

if __name__ == "__main__":
    run(experiment(RANDOM, "python experiments/random_sampled.py"))
