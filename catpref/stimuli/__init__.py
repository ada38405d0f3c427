"""Stimulus sets: folders of images, photographs cropped to faces, and drawn cats."""
