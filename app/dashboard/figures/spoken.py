"""What charts show, in words: for those who do not see them."""

from __future__ import annotations

from app.dashboard.figures.loss_chart import LossChart
from app.dashboard.formatting import format_band, format_step, format_value
from app.runs import Points, StoredForecast


def spoken_chart(chart: LossChart) -> str:
    """`loss to step 500, last 3.350; forecast 3.232, 90 % 3.071 – 3.350 at step 1,000`."""
    said = spoken_curve(chart.metric, chart.points)
    return said if chart.forecast is None else f"{said}; {_spoken_forecast(chart.forecast)}"


def spoken_curve(metric: str, points: Points) -> str:
    if not len(points):
        return f"{metric}, no point in view"
    return f"{metric} to step {format_step(int(points.steps[-1]))}, last {format_value(float(points.values[-1]))}"


def _spoken_forecast(forecast: StoredForecast) -> str:
    final = forecast.final_quantiles
    ends = format_band(final[0.05], final[0.95])
    return f"forecast {format_value(final[0.5])}, 90 % {ends} at step {format_step(forecast.horizon)}"
