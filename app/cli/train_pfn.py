"""`losscast train-pfn`: train the network that extrapolates curves, on curves that are invented. Needs torch."""

from __future__ import annotations

import datetime
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.errors import BadInput, Conflict, Unavailable

if TYPE_CHECKING:
    from app.pfn.network import Size
    from app.pfn.training.training import Training


class Device(StrEnum):
    """Where the network is trained."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Curves(StrEnum):
    """What part of the prior invents the curves."""

    WHOLE = "whole"
    TRACTABLE = "tractable"
    TRACTABLE_EARLY = "tractable-early"


def train_pfn(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Where the checkpoint and the record go.")],
    minutes: Annotated[float | None, typer.Option(help="Length of the training in minutes of its own clock.")] = None,
    curves: Annotated[int | None, typer.Option(help="Or its length in curves.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the network and of the curves.", show_default="0")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in DIR, by its recipe.")] = False,
    device: Annotated[Device, typer.Option(help="Where to train; auto takes a GPU if there is one.")] = Device.AUTO,
    prior: Annotated[
        Curves | None,
        typer.Option(
            help="Invent curves of the whole prior, or of the part whose likelihood a sampler can be given; the last: "
            "with more cutoffs between 7 and 30 % of the horizon.",
            show_default="whole",
        ),
    ] = None,
    begin_from: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Begin with the network that --export wrote there, of its size."),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(min=8, help="Numbers a row of the network carries; a multiple of 4.", show_default="64"),
    ] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Blocks of the network.", show_default="3")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Curves an update.", show_default="64")] = None,
    peak_rate: Annotated[float | None, typer.Option(help="Largest learning rate.", show_default="0.002")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the network's arithmetic.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes that invent curves; 0: between updates.")] = 0,
    export: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the weights and their card there, trained or as they are.")
    ] = None,
    losscast: Annotated[
        str | None, typer.Option(metavar="URL", help="Report to a Losscast server as the training goes on.")
    ] = None,
) -> None:
    """Train the prior-fitted network on invented curves.

    Without --minutes and --curves nothing is trained: --export then writes what the checkpoint holds. The best
    weights are chosen by the log score on invented curves that the training has not seen, never by real ones.
    """
    _require_torch()
    if resume:
        _require_none(
            prior=prior, begin_from=begin_from, seed=seed, width=width, layers=layers, batch=batch, peak_rate=peak_rate
        )
    if minutes is not None or curves is not None:
        from app.pfn.prior import Prior
        from app.pfn.training.training import CHECKPOINT, Budget, Given, Recipe, Training, choose_device

        budget = Budget(minutes, curves)
        place = choose_device(device.value, threads)
        if resume:
            training = Training.resume(output, budget, place)
        else:
            if (output / CHECKPOINT).exists():
                raise Conflict(f"{output} holds a checkpoint: go on with --resume, or name another folder.")
            asked: dict[str, Any] = {"seed": seed, "batch": batch, "peak_rate": peak_rate}
            asked["prior"] = None if prior is None else Prior(prior.value)
            recipe = replace(Recipe(), **{name: value for name, value in asked.items() if value is not None})
            if begin_from is None:
                training = Training(output, replace(recipe, size=_size(width, layers)), budget, place)
            elif width is None and layers is None:
                training = Training.begin_from(Given.read(begin_from), output, recipe, budget, place)
            else:
                raise BadInput("A network that is begun --from another has its width and layers: leave them out.")
        for folder in (output, export):
            _make(folder)
        _train(training, workers, losscast)
    elif export is None:
        raise BadInput(
            "Say how long to train, with --minutes or --curves, or where to write the weights, with --export."
        )
    if export is not None:
        _export(output, export)


def _size(width: int | None, layers: int | None) -> Size:
    from app.pfn.network import Size

    usual = Size()
    if width is not None and width % usual.heads:
        raise BadInput(f"The width must be a multiple of {usual.heads}, the number of heads; it is {width}.")
    return replace(usual, width=width or usual.width, layers=layers or usual.layers)


def _require_none(**recipe: object) -> None:
    """What a training that goes on has from its checkpoint is said to have no effect, instead of being passed over."""
    names = {"begin_from": "--from", "peak_rate": "--peak-rate"}
    given = [names.get(name, f"--{name}") for name, value in recipe.items() if value is not None]
    if given:
        raise BadInput(f"With --resume a training goes on by its own recipe: leave out {', '.join(given)}.")


def _make(folder: Path | None) -> None:
    """Before the training, whose hours would be for nothing if its files had no place."""
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder} cannot be a folder to write to: {error.strerror}.") from error


def _require_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise Unavailable("Training needs torch: pip install 'losscast[train]'. Forecasting does not.")


def _train(training: Training, workers: int, url: str | None) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    send = _sender(url, training, console) if url else None
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Training", total=1.0, state="")

        def report(entry: Mapping[str, Any]) -> None:
            state = f"{entry['curves']:,} curves, loss {entry['loss']:.3f}"
            progress.update(task, completed=entry["progress"], state=state)
            if "scores" in entry:
                scores = entry["scores"]
                by_share = " ".join(f"{scores[name]['log_score']:+.3f}" for name in scores if name != "all")
                whole = scores["all"]
                console.print(
                    f"{entry['seconds'] / 60:6.1f} min {state}, log score {whole['log_score']:+.4f} ({by_share}), "
                    f"error {whole['error']:.3f}, 90 % band holds {100 * whole['cover_90']:.1f} %",
                    highlight=False,
                    soft_wrap=True,
                )
            if send is not None:
                send(entry)

        scores = training.run(workers, report)
    console.print(
        f"Done: log score {scores['all'].log_score:+.4f} on curves that it has not seen.",
        highlight=False,
        soft_wrap=True,
    )


def _sender(url: str, training: Training, console: Any) -> Callable[[Mapping[str, Any]], None]:
    """Reports to a server. One that does not answer is told of once, and the training goes on."""
    import httpx

    run = f"train-pfn-{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}-{training.recipe.seed}"
    params: dict[str, str | int] = {"project": "pfn"}
    if training.budget.curves is not None:
        params["total_steps"] = -(-training.budget.curves // training.recipe.batch)
    client = httpx.Client(base_url=url, timeout=5.0)
    failed = False

    def send(entry: Mapping[str, Any]) -> None:
        nonlocal failed
        point: dict[str, Any] = {"step": entry["updates"], "train/loss": entry["loss"], "lr": entry["rate"]}
        if "scores" in entry:
            point["val/loss"] = -entry["scores"]["all"]["log_score"]
        try:
            client.post(f"/api/v1/log/{run}", params=params, json=point).raise_for_status()
        except httpx.HTTPError as error:
            if not failed:
                console.print(
                    f"The server does not take our reports ({error}); training goes on.", style="yellow", soft_wrap=True
                )
            failed = True

    return send


def _export(run: Path, folder: Path) -> None:
    from app.pfn.training.export import export

    _make(folder)
    card = export(run, folder, datetime.datetime.now(datetime.UTC))
    sys.stderr.write(f"Wrote {folder}: {card['n_parameters']:,} parameters, sha256 {card['sha256'][:12]}...\n")
