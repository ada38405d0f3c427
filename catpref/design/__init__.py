"""Which images are shown together: trial lists, splits of their trials, and simulated observers that answer them."""
