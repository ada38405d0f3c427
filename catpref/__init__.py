"""Learn one person's visual taste from two-alternative forced choices.

The rooms, in the order in which they build on each other: `stimuli` (sets of images), `design` (trial lists, and
simulated observers who answer them), `sessions` (recorded choices), `perception` (what a network sees in an image),
`models`, `evaluation` and `report`; beside them `lab` and `pavlovia` (where people answer) and `replication` (the
study of 2021).
"""

from catpref._io.startup import begin
from catpref.errors import BadInput as BadInput

begin()

__version__ = "0.1.0"
