"""Recorded choices: session.csv in all its dialects, and BIDS."""
