"""Save a picture of every screen of a session: ``python -m experiments.screenshots``."""

from catpref.command_line import run
from catpref.lab.screenshots import main

if __name__ == "__main__":
    run(main)
