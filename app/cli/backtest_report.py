"""What a backtest found, for programs, for people and as a chart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.printing import open_console, print_table

if TYPE_CHECKING:
    from app.forecasting.backtest import Score

Record = dict[str, Any]

# Okabe and Ito's colours, which the colour-blind can tell apart.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999", "#000000")


@dataclass(frozen=True, slots=True)
class FileResult:
    """What came of one file: scores of its metric, or why there are none."""

    file: str
    folder: str
    scores: tuple[Score, ...] = ()
    why_skipped: str | None = None
    metric: str = ""
    role: str = ""


def as_record(results: Sequence[FileResult], names: Sequence[str], *, by_folder: bool) -> Record:
    """`{"runs", "of", "notes", "skipped", "forecasters": {name: {fraction: {...}}}}`, and the same for each folder if
    asked for. `of` is what was forecast: "loss", "accuracy" or, of several kinds or another, "value".
    """
    scored = [result for result in results if result.why_skipped is None]
    skipped = [{"file": each.file, "why": each.why_skipped} for each in results if each.why_skipped is not None]
    record: Record = {
        "runs": len(scored),
        "of": _kind(scored),
        "notes": _notes(scored),
        "skipped": skipped,
        "forecasters": _forecasters(scored, names),
    }
    if by_folder:
        folders = dict.fromkeys(result.folder for result in scored)
        record["folders"] = {}
        for folder in folders:
            inside = [result for result in scored if result.folder == folder]
            record["folders"][folder] = {"runs": len(inside), "forecasters": _forecasters(inside, names)}
    return record


def _kind(results: Sequence[FileResult]) -> str:
    from app.curves.roles import ACCURACY_ROLES, LOSS_ROLES

    roles = {result.role for result in results}
    return "loss" if roles <= LOSS_ROLES else "accuracy" if roles <= ACCURACY_ROLES else "value"


def _notes(results: Sequence[FileResult]) -> list[str]:
    from app.curves.unforecast import asked_all_the_same

    said = (asked_all_the_same(result.metric, result.role) for result in results)
    return list(dict.fromkeys(note for note in said if note is not None))


def _forecasters(results: Sequence[FileResult], names: Sequence[str]) -> Record:
    from app.forecasting.backtest import as_record as record_of
    from app.forecasting.backtest import summarise

    summaries = summarise(score for result in results for score in result.scores)
    return {
        name: {f"{fraction:g}": record_of(one) for fraction, one in sorted(summaries.get(name, {}).items())}
        for name in names
    }


def print_tables(record: Record) -> None:
    """Errors and coverage for people, each folder first where they were asked for."""
    console = open_console()
    for folder, part in record.get("folders", {}).items():
        _print_table(console, f"{folder}: {_runs(part['runs'])}", part["forecasters"])
    if record["runs"]:
        _print_table(console, f"All: {_runs(record['runs'])}", record["forecasters"])
        console.print(
            f"Median |error| of the final {record['of']} [%], in brackets the share of runs inside the 90 % band [%]. "
            "Of the middle fraction: median |error| over the rest of the run [%], CPU of one forecast [ms].",
            style="dim",
            markup=False,
        )
    for note in record["notes"]:
        console.print(f"· {note}", style="yellow", markup=False, soft_wrap=True)
    for each in record["skipped"]:
        console.print(f"skipped {each['file']}: {each['why']}", style="yellow", markup=False, soft_wrap=True)


def _print_table(console: Any, title: str, forecasters: Mapping[str, Any]) -> None:
    from rich.table import Table

    head, *rows = _rows(forecasters)
    table = Table(title=title, title_justify="left", box=None, header_style="dim")
    for heading in head:
        table.add_column(heading, justify="left" if heading == head[0] else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    print_table(console, table)


def as_markdown(record: Record) -> str:
    """The same tables for a page of documentation, each with one of the scores of whole distributions below it."""
    parts = [(folder, part["runs"], part["forecasters"]) for folder, part in record.get("folders", {}).items()]
    lines: list[str] = []
    for title, count, forecasters in [*parts, ("All", record["runs"], record["forecasters"])]:
        lines += [f"**{title}: {_runs(count)}**", ""]
        lines += [*_markdown_table(_rows(forecasters)), "", *_markdown_table(_score_rows(forecasters)), ""]
    of = record["of"]
    lines += [f"CRPS: the mean, of the final {of} over it [%], and in brackets the mean log score; large is good.", ""]
    lines += [part for note in record["notes"] for part in (note, "")]
    why = Counter(f"{each['why'].split(':')[0].split(';')[0].rstrip('.')}" for each in record["skipped"])
    lines += [f"Skipped, {count}: {reason}." for reason, count in why.items()]
    return "\n".join(lines).strip()


def _markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *below = rows
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *below]]


def _score_rows(forecasters: Mapping[str, Any]) -> list[list[str]]:
    """A header, and each forecaster's CRPS and log score."""
    fractions = _fractions(forecasters)
    head = ["CRPS (log score)", *(f"{100 * float(fraction):g} % seen" for fraction in fractions)]
    cells = ([_score_cell(by_fraction.get(fraction)) for fraction in fractions] for by_fraction in forecasters.values())
    return [head, *([name, *row] for name, row in zip(forecasters, cells, strict=True))]


def _score_cell(summary: Mapping[str, Any] | None) -> str:
    if summary is None:
        return ""
    log_score = summary["log_score"]
    return f"{_percent(summary['crps_rel'])} ({'-' if log_score is None else f'{log_score:.2f}'})"


def _fractions(forecasters: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(fraction for by_fraction in forecasters.values() for fraction in by_fraction))


def _rows(forecasters: Mapping[str, Any]) -> list[list[str]]:
    """A header and a row for each forecaster."""
    fractions = _fractions(forecasters)
    rows = [["forecaster", *(f"{100 * float(fraction):g} % seen" for fraction in fractions), "path", "ms"]]
    for name, by_fraction in forecasters.items():
        middle = by_fraction.get(fractions[len(fractions) // 2]) if fractions else None
        cells = [_cell(by_fraction.get(fraction)) for fraction in fractions]
        ends = ["", ""] if middle is None else [_percent(middle["path_ape"]), f"{middle['ms']:.0f}"]
        rows.append([name, *cells, *ends])
    return rows


def _cell(summary: Mapping[str, Any] | None) -> str:
    return "" if summary is None else f"{_percent(summary['median_ape'])} ({100 * summary['cover90']:.0f})"


def _percent(value: float | None) -> str:
    """Two digits after the point where they say something."""
    if value is None:
        return "-"
    return (
        f"{100 * value:.2f}" if abs(value) < 0.1 else f"{100 * value:.1f}" if abs(value) < 10 else f"{100 * value:.1g}"
    )


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def write_plot(path: Path, record: Record) -> None:
    """One page that needs no network: a row of charts for all runs and, where asked for, for each folder."""
    from plotly.graph_objects import Figure
    from plotly.subplots import make_subplots

    from app.errors import BadInput

    groups = {"all": record["forecasters"]} | {
        folder: part["forecasters"] for folder, part in record.get("folders", {}).items()
    }
    titles = [
        title for group in groups for title in (f"{group}: median |error| [%]", f"{group}: inside the 90 % band [%]")
    ]
    figure: Figure = make_subplots(
        rows=len(groups),
        cols=2,
        subplot_titles=titles,
        horizontal_spacing=0.09,
        vertical_spacing=0.3 / (len(groups) + 1),
    )
    for row, forecasters in enumerate(groups.values(), start=1):
        _add_row(figure, row, forecasters)
    figure.update_xaxes(ticksuffix=" %", title_text="seen", rangemode="tozero")
    figure.update_layout(
        template="plotly_white",
        title=f"Backtest of {_runs(record['runs'])}",
        height=120 + 380 * len(groups),
        legend={"orientation": "h", "y": -0.12 / len(groups)},
    )
    try:
        figure.write_html(path, include_plotlyjs=True, config={"displaylogo": False})
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}.") from error


def _add_row(figure: Any, row: int, forecasters: Mapping[str, Any]) -> None:
    for number, (name, by_fraction) in enumerate(forecasters.items()):
        seen = [100 * float(fraction) for fraction in by_fraction]
        style = {
            "name": name,
            "legendgroup": name,
            "mode": "lines+markers",
            "line": {"color": COLOURS[number % len(COLOURS)], "width": 3 if number == 0 else 1.5},
        }
        errors = [None if each["median_ape"] is None else 100 * each["median_ape"] for each in by_fraction.values()]
        covered = [100 * each["cover90"] for each in by_fraction.values()]
        figure.add_scatter(x=seen, y=errors, showlegend=row == 1, row=row, col=1, **style)
        figure.add_scatter(x=seen, y=covered, showlegend=False, row=row, col=2, **style)
    figure.update_yaxes(type="log", row=row, col=1)
    figure.add_hline(y=90, line_dash="dot", line_color="#888888", row=row, col=2)
    figure.update_yaxes(range=[0, 103], row=row, col=2)
