"""Run an adaptive session: each next pair is chosen from the answers so far; with --rank, to order a few images."""

from catpref.command_line import run
from catpref.design.trial_list import ADAPTIVE
from catpref.lab.command import experiment

if __name__ == "__main__":
    run(experiment(ADAPTIVE, "python experiments/adaptive.py"))
