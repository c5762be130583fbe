"""Is a run worth going on with: a probability, a saving and a regret. Pure: no clock, no storage, no chance.

`judge` (`judging.py`) answers for one run in a `Situation`; `rank` (`sweep.py`) for all runs of a group; `targets.py`
says when a level is reached. Inside, every metric is better when lower: others are mirrored where they come in.
"""
