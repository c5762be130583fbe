"""Trainings of tiny networks, for what is chosen, tested and reported elsewhere to have runs: each says of what."""
