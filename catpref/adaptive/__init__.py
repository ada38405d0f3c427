"""Adaptive sessions: each next pair is the one whose answer is expected to teach most."""
