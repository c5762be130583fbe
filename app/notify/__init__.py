"""Delivering alerts to the world outside: what is said, where it may go, one attempt, and when to try again."""
