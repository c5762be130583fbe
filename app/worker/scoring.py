"""Scoring the forecasts of a run that has ended. Twice is as good as once, and a crash leaves what was there before."""

from __future__ import annotations

from app.forecasting.track_record import judge
from app.storage.database import Database
from app.storage.runs import hold_run
from app.storage.scoring import forecast_series, read_ended, read_past_forecasts, save_scores, score_mark


def score_run(database: Database, run_id: str) -> int:
    """Hold every stored forecast of the run to how it ended; returns how many could be.

    Zero where the run is gone, still goes on, or where a refit has yet to see its end: the sweep asks again after that.
    """
    with database.read() as connection:
        mark = score_mark(connection, run_id)
        if mark is None:
            return 0
        concluded = {}
        for metric, series_id in forecast_series(connection, mark.run_key).items():
            ended = read_ended(connection, mark.run_key, series_id)
            outcome = ended.outcome()
            past = read_past_forecasts(connection, mark.run_key, metric, outcome.end_step)
            concluded[metric] = (outcome, judge(ended, past))
    with database.write() as connection:
        if not hold_run(connection, mark.run_key):
            return 0
        save_scores(connection, mark, concluded)
    return sum(len(judged) for _, judged in concluded.values())
