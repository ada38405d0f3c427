"""Sessions in PsychoPy: what an experiment shows, asks and records."""
