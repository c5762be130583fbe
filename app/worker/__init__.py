"""Background work: load, a pure call, save."""
