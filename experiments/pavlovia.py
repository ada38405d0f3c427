"""Export a trial list as an experiment for Pavlovia, or for PsychoPy Builder."""

from catpref.command_line import run
from catpref.pavlovia.command import main

if __name__ == "__main__":
    run(main)
