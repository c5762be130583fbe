"""From all that is said and logged of a run to its plan; :mod:`app.curves.planning.resolve` is the way in."""
