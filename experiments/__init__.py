"""What a lab runs: PsychoPy sessions and the screens they show."""
