"""The command line: `losscast`. Commands import what they need when they run, so that `--help` is quick."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

from app.cli import (
    backtest,
    delete,
    demo,
    diagnose,
    export,
    files,
    fit,
    import_runs,
    keys,
    postgres,
    services,
    train_pfn,
)
from app.errors import LosscastError

app = typer.Typer(
    name="losscast",
    help="The weather service for training runs: where the loss is going and how sure we are, with alerts.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(asked: bool) -> None:
    if asked:
        from app import __version__

        typer.echo(f"losscast {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    pass


app.command("up")(services.up)
app.command("demo")(demo.demo)
app.command("serve")(services.serve)
app.command("work")(services.work)
app.command("migrate")(services.migrate_database)
app.command("import")(import_runs.import_runs)
app.command("export")(export.export)
app.command("delete")(delete.delete)
app.command("forecast")(files.forecast_file)
app.command("backtest", cls=backtest.Command)(backtest.backtest)
app.command("fit", cls=fit.Command)(fit.fit)
app.command("train-pfn")(train_pfn.train_pfn)
app.command("diagnose")(diagnose.diagnose)
app.add_typer(keys.app, name="key")
app.command(
    "pg", context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False}
)(postgres.postgres)


def main() -> NoReturn:
    """Run a command; an error that was foreseen is one line on stderr and exit code 1 (2 for bad input)."""
    # Before numpy is loaded: its matrices here are small. Threads that wait for each other double the CPU of a fit, and
    # on a busy machine they wait a hundred times longer than they work.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from pydantic import ValidationError

    try:
        app()
    except ValidationError as error:
        fault = error.errors()[0]
        name = "_".join(str(part) for part in fault["loc"]).upper()
        variable = name if name == "DATABASE_URL" else f"LOSSCAST_{name}"
        _end(f"The setting {variable} cannot be used: {fault['msg']}.", 2)
    except LosscastError as error:
        from app.errors import BadInput

        _end(str(error), 2 if isinstance(error, BadInput) else 1)
    except BrokenPipeError:  # whoever read us, such as `head`, has seen enough
        sys.stderr.close()
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _end(message: str, code: int) -> NoReturn:
    typer.secho(f"losscast: {message}", err=True, fg=typer.colors.RED)
    sys.exit(code)
