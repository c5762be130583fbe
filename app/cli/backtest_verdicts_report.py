"""What a replay of verdicts found, for programs, for people and as a chart."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.backtest_report import COLOURS
from app.cli.printing import counted, open_console, print_table

if TYPE_CHECKING:
    from app.cli.backtest_verdicts import Skipped
    from app.verdicts.replay import GroupOutcome

Record = dict[str, Any]
Outcomes = Mapping[str, Mapping[str, "GroupOutcome"]]

EDGES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
"""Of the bins of the reliability table: finer where stops are decided."""

LEAST_DRAWN = 0.01
"""Regret is drawn on a logarithmic axis, from here on; what is less stands there. [%]"""


def as_record(outcomes: Outcomes, curves: Outcomes, skipped: Sequence[Skipped]) -> Record:
    """`{"policies": {name: {...}}, "groups": {...}, "curves": {...}, "reliability": {...}, "skipped": [...]}`."""
    groups = list(next(iter(outcomes.values()), {}))
    return {
        "policies": {name: _summary(by_group) for name, by_group in outcomes.items()},
        "groups": {
            group: {
                "runs": next(iter(outcomes.values()))[group].runs,
                "tied": next(iter(outcomes.values()))[group].tied,
                "policies": {name: _of_group(by_group[group]) for name, by_group in outcomes.items()},
            }
            for group in groups
        },
        "curves": {name: _summary(by_group) for name, by_group in curves.items()},
        "reliability": {
            name: table for name, by_group in outcomes.items() if (table := _reliability(list(by_group.values())))
        },
        "skipped": [{"file": one.file, "why": one.why} for one in skipped],
    }


def _summary(by_group: Mapping[str, GroupOutcome]) -> Record:
    from app.verdicts.replay import summarise

    return _finite(dataclasses.asdict(summarise(list(by_group.values()))))


def _of_group(outcome: GroupOutcome) -> Record:
    return _finite(
        {
            "saved": outcome.saved,
            "saved_steps": outcome.saved_steps,
            "steps": outcome.steps,
            "regret": outcome.regret,
            "stopped_best": outcome.stopped_best,
            "costly": outcome.is_costly,
            "stops": dict(outcome.stops),
        }
    )


def _finite(record: Record) -> Record:
    """JSON knows no infinities: a group whose every finite run was stopped before it came to a level has one."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in record.items()
    }


def _reliability(outcomes: Sequence[GroupOutcome]) -> list[Record]:
    from app.verdicts.replay import reliability

    said = [one for outcome in outcomes for one in outcome.said]
    return [
        {"stated": stated, "came_true": true, "n": count}
        for stated, true, count in (reliability(said, EDGES) if said else [])
    ]


def print_tables(record: Record) -> None:
    """The policies, the groups, and how far stated probabilities can be believed."""
    from rich.table import Table

    console = open_console()
    for title, (head, *rows) in _tables(record).items():
        table = Table(title=title, title_justify="left", box=None, header_style="dim")
        for heading in head:
            table.add_column(heading, justify="left" if heading == head[0] else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        print_table(console, table)
    console.print(
        "saved: share of the runs' lengths not run; of steps: share of all steps, groups counting the same. regret: "
        "best level a group came to above its best final level. wrong: groups whose best run was stopped; costly: with "
        "a regret above 0.2 %. tied: other runs that ended within 0.2 % of the best.",
        style="dim",
        markup=False,
    )
    for each in record["skipped"]:
        console.print(f"skipped {each['file']}: {each['why']}", style="yellow", markup=False, soft_wrap=True)


def as_markdown(record: Record) -> str:
    """The same tables for a page of documentation."""
    lines: list[str] = []
    for title, (head, *rows) in _tables(record).items():
        table = [head, ["---"] * len(head), *rows]
        lines += [f"**{title}**", "", *(f"| {' | '.join(row)} |" for row in table), ""]
    return "\n".join(lines).strip()


def _tables(record: Record) -> dict[str, list[list[str]]]:
    keys = {
        "saved [%]": "saved",
        "of steps [%]": "saved_steps",
        "regret, mean [%]": "regret_mean",
        "regret, 95 % [%]": "regret_p95",
        "wrong [%]": "wrong_stops",
        "costly [%]": "costly_stops",
        "undecided [%]": "undecided",
    }
    policies = [["policy", *keys, "Brier"]]
    for name, one in record["policies"].items():
        brier = "" if one["brier"] is None else f"{one['brier']:.3f}"
        policies.append([name, *(_percent(one[key]) for key in keys.values()), brier])
    names = list(record["policies"])
    groups = [["group", "runs", "tied", *names]]
    for group, part in record["groups"].items():
        groups.append([group, str(part["runs"]), str(part["tied"]), *(_cell(part["policies"][name]) for name in names)])
    tables = {
        f"Policies, {counted(len(record['groups']), 'group')}": policies,
        "Groups: saved [%], in brackets regret [%] where there was any": groups,
    }
    for name, bins in record["reliability"].items():
        rows = [[f"{100 * one['stated']:.1f}", f"{100 * one['came_true']:.1f}", str(one["n"])] for one in bins]
        tables[f"Stated by {name}: not beaten [%]"] = [["stated", "came true", "n"], *rows]
    return tables


def _cell(one: Record) -> str:
    regret = "" if one["regret"] == 0 else f" ({_percent(one['regret'])})"
    return f"{100 * one['saved']:.0f}{regret}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}" if abs(value) < 0.1 else f"{100 * value:.1f}"


def write_plot(path: Path, record: Record) -> None:
    """Regret against saving, one line a policy, and reliability; one page that needs no network."""
    from plotly.subplots import make_subplots

    from app.errors import BadInput

    titles = ["What is saved, and what it costs: down and right is better", "Stated that the references are not beaten"]
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles, column_widths=[0.6, 0.4])
    lines: dict[str, list[Record]] = {}
    for name, one in (record["curves"] or record["policies"]).items():
        lines.setdefault(name.split(" ")[0], []).append(one | {"name": name})
    for number, (name, points) in enumerate(lines.items()):
        shown = sorted((one for one in points if one["regret_mean"] is not None), key=lambda one: float(one["saved"]))
        figure.add_scatter(
            x=[100 * one["saved"] for one in shown],
            y=[max(100 * one["regret_mean"], LEAST_DRAWN) for one in shown],
            text=[_told(one) for one in shown],
            hovertemplate="%{text}<extra></extra>",
            name=name,
            mode="lines+markers",
            line={"color": COLOURS[number % len(COLOURS)], "width": 3 if number == 0 else 1.5},
            marker={"size": 9 if number == 0 else 6},
            row=1,
            col=1,
        )
    for name, bins in record["reliability"].items():
        figure.add_scatter(
            x=[100 * one["stated"] for one in bins],
            y=[100 * one["came_true"] for one in bins],
            text=[counted(one["n"], "judgement") for one in bins],
            hovertemplate="stated %{x:.1f} %, came true %{y:.1f} %, %{text}<extra></extra>",
            name=f"{name}, stated",
            mode="lines+markers",
            line={"color": COLOURS[0], "width": 1},
            # Areas as the counts: a point far off the diagonal may be three judgements.
            marker={"size": [4 + one["n"] ** 0.5 for one in bins], "opacity": 0.7},
            showlegend=False,
            row=1,
            col=2,
        )
    figure.add_scatter(
        x=[0, 100], y=[0, 100], mode="lines", line={"dash": "dot", "color": "#888888"}, showlegend=False, row=1, col=2
    )
    ticks = [LEAST_DRAWN, 0.1, 1, 10, 100, 1000]
    figure.update_xaxes(title_text="saved [%]", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(
        title_text="mean regret [%]",
        type="log",
        tickvals=ticks,
        ticktext=[f"at most {LEAST_DRAWN:g}", *(f"{tick:g}" for tick in ticks[1:])],
        row=1,
        col=1,
    )
    figure.update_xaxes(title_text="stated [%]", range=[-2, 102], row=1, col=2)
    figure.update_yaxes(title_text="came true [%]", range=[-2, 102], row=1, col=2)
    figure.update_layout(
        template="plotly_white",
        title=f"Policies on {counted(len(record['groups']), 'group')} of siblings",
        height=560,
        hovermode="closest",
        legend={"orientation": "h", "y": -0.18},
    )
    try:
        figure.write_html(path, include_plotlyjs=True, config={"displaylogo": False})
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}.") from error


def _told(one: Record) -> str:
    """A point of the chart, in words."""
    return (
        f"{one['name']}<br>saved {_percent(one['saved'])} %, regret {_percent(one['regret_mean'])} %"
        f"<br>best run stopped in {_percent(one['wrong_stops'])} % of the groups"
    )
