"""The version, in a file that imports nothing: it is part of every request's User-Agent."""

__version__ = "0.1.0"
