"""Losscast: the weather service for training runs. The folders' docstrings say what each room is for."""

__version__ = "0.1.0"
