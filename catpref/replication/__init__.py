"""The study of 2021: its four experiments, with the controls that show why they failed."""
