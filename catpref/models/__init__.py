"""The models: each learns from pairs and choices, and gives P(right) for new pairs."""
