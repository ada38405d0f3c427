"""Sessions in a browser: a trial list as a PsychoPy Builder experiment for Pavlovia."""
