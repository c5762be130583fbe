"""What is wrong with a run, what is about to be, and what only looks like it.

`Engine` reads the points of a run in the order of their steps and says `Event`s. It costs O(1) a point, keeps a few
kilobytes of state whatever the length, and is a function of the points alone: cut them into batches as you like, stop
and go on from its bytes, or rebuild it from storage, the events are the same.

To add a diagnosis
------------------
1. Write `app/diagnostics/<name>.py` with one `@dataclass(slots=True)` that has the shape of `Diagnosis`
   (`app/diagnostics/diagnosis.py`): `name` and `kinds` as class variables, `state` as a word, and
   `observe(window) -> Iterator[Event]`. Its fields are its state: plain numbers, strings, lists, dictionaries, other
   such dataclasses, events. Everything it must remember goes there, everything it is told comes in the `Window`: points
   of the metrics by signal, what changed from outside (rate, batch size, restart), what was said by the others.
2. If it reads a scalar that has no signal yet, add a row to `SIGNALS` in `signals.py`.
3. Name the class in `DIAGNOSES` (`registry.py`). Diagnoses run in that order; a later one sees what earlier ones said.
4. Test it, and test it with `tests/diagnostics/test_engine.py`, which cuts its input everywhere.

Stored states of before know nothing of the new diagnosis: `Engine.from_bytes` refuses them, and they are rebuilt.

Tools to build with: `Level` (a robust running level and scale that a spike cannot poison), `History` (a metric's whole
past in at most 128 blocks), `Trend` (a regression with forgetting, and the chance that it reaches a threshold).
"""
