"""How well a model predicts choices between images it has never seen, and what that is to be compared to."""
