"""Repeat the study of 2021: ``python -m experiments.study``."""

from catpref.command_line import run
from catpref.replication.command import main

if __name__ == "__main__":
    run(main)
