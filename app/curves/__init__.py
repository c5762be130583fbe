"""What a run's numbers are: curves, schedules, plans, metric roles, and their reduction. Pure."""
