"""What the diagnoses catch, how early, and how often they cry wolf, beside published rules on the same runs.

`python -m benchmarks.diagnostics [DATA [LOGITS [FAST]]]`: DATA, or LOSSCAST_DATA, or ../shared/data, is a folder of
folders of runs; LOGITS one of runs by `python -m benchmarks.made_runs.attention_logits`, for more cases of the trend;
FAST one of runs by `python -m benchmarks.made_runs.too_fast`, of which many lose again what they had learned.

Everything is causal: a rule sees a point and what came before it. Alarms within 100 logged points are one event.
A *false event* is one in a run that is healthy as far as its own log shows. A *fault* of a run that failed begins at
the first logged point from which on some loss or gradient is not finite, or a training loss lies above 1.1 times its
first value at three points running: a label made with hindsight, from all that is logged. *Delay* is counted from there
in logged points.
"""
