"""How what a probe logs moves over a run: a law, a trend or a phase, read off everything logged so far.

Unlike the diagnoses these are no faults and raise no events: each is a `Dynamic`, a sentence and its numbers, worked
out anew from some hundred points when somebody looks. Nothing is said from too few points, and every fit says how well
it holds.
"""
