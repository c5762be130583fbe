"""How far beyond what was seen a question may go: further there is a note, and much further no answer."""

MEASURED_REACH = 5
"""Times as far as a run has come: forecasts were measured from a fifth of a run's way on (docs/accuracy.md)."""

FURTHEST_REACH = 50
"""Ten times as far as anything measured there is nothing left to say: such a total is a slip more often than a wish."""

HIGHER_RATE = 1.05  # times the highest peak that there was: less is rounding
HIGHEST_RATE = 10  # times that peak: beyond it most runs diverge, which no law foretells
