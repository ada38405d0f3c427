"""What catpref costs, measured in one run against the plain way and against the machine's own limits."""
