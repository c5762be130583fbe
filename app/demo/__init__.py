"""Real training runs, replayed through the API as jobs would send them, and a check of what came of it."""
