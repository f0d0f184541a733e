"""The command line: ``pyasmg minimize``, ``show``, ``export``, ``watch``, ``demo`` and ``clip``.

Exit status: 0 done, 1 the run failed, 2 an option makes no sense, 128 + n stopped by signal n (130 for
Ctrl-C). What was found is written in each case but 2; that it can be is checked before the run starts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ._cli_clip import app as clip_app
from ._cli_input import OptionError, in_options, number_option
from ._cli_minimize import minimize_command
from ._cli_output import complain
from ._cli_runs import add_commands
from ._store_lock import StoreError
from ._version import __version__

# The parser's own errors. Newer releases of typer carry their own click; BadParameter is common to all.
_ParserError = cast(
    type[Exception], next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    try:
        status = app(None if arguments is None else [*arguments], prog_name="pyasmg", standalone_mode=False)
    except OptionError as error:
        complain(str(error))
        return 2
    except _ParserError as error:
        message = str(cast(Any, error).format_message())
        complain(re.sub(r"^Invalid value for '([^']+)': must", r"\1 must", message))
        return 2
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted")
        return 130
    except (StoreError, ImportError) as error:
        complain(str(error))
        return 1
    except MemoryError as error:
        complain(f"not enough memory: {error}")
        return 1
    return status if isinstance(status, int) else 0


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Black-box multi-objective optimization by stochastic multi-objective gradients."""
    if version:
        print(f"pyasmg {__version__}")
        raise typer.Exit(0)
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


app.command("minimize")(minimize_command)
add_commands(app)
app.add_typer(clip_app, name="clip")


@app.command("demo")
def _demo(
    seeds: Annotated[int, number_option(int, "Paired seeds, one run of each method for each.")] = 3,
    max_evaluations: Annotated[int, number_option(int, "Queries per run.")] = 12_000,
    popsize: Annotated[int, number_option(int, "Candidates per generation, for every method.")] = 24,
    sigma0: Annotated[float, number_option(float, "Initial standard deviation, for every method.")] = 0.05,
    seed: Annotated[int, number_option(int, "The first seed.")] = 0,
    output_dir: Annotated[Path, typer.Option(help="Where pyasmg-demo.png and pyasmg-demo.json go.")] = Path(),
) -> int:
    """Tune one classifier for four image domains by queries only, beside CMA-ES."""
    if not output_dir.is_dir():
        raise OptionError(f"--output-dir must be a folder that exists; got {str(output_dir)!r}.")
    from .demo import run_demo

    try:
        run_demo(
            n_seeds=seeds,
            max_evaluations=max_evaluations,
            popsize=popsize,
            sigma0=sigma0,
            seed=seed,
            png_path=output_dir / "pyasmg-demo.png",
            json_path=output_dir / "pyasmg-demo.json",
        )
    except (ValueError, TypeError) as error:
        raise in_options(error) from error
    except ImportError as error:
        complain(str(error))
        return 1
    return 0
