"""Delivering alerts to the world outside, with retries."""
