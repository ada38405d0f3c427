"""Tables, figures and the page of a fit: reads results, computes nothing."""
