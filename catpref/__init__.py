"""Learn one person's visual taste from two-alternative forced choices.

The path of the data, and the module for each step: a stimulus set (:mod:`catpref.stimuli`), a trial list
(:mod:`catpref.trials`), a session (:mod:`catpref.sessions`, :mod:`catpref.observers`), LPIPS distance maps and
signed embeddings (:mod:`catpref.lpips_maps`, :mod:`catpref.embeddings`), a model (:mod:`catpref.models`), its
evaluation (:mod:`catpref.evaluation`) and a report (:mod:`catpref.report`).
"""

from catpref.commands import BadInput as BadInput  # first of all: it begins to answer Ctrl-C

__version__ = "0.1.0"
