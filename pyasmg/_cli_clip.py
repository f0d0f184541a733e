"""The commands ``pyasmg clip serve``, ``tune`` and ``demo``."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import typer

from ._cli_input import OptionError, in_options, number_option, output_path, step, weighting
from ._cli_minimize import signals
from ._cli_output import complain

DEFAULT_PROMPT = "pyasmg-prompt.safetensors"
PATIENCE = 10.0  # seconds for a server that is starting

_Text = typer.Option
_MODEL, _BUDGET, _HTTP = "Model and images", "Budget", "Server"

_Model = Annotated[
    str,
    _Text("--model", help="tiny, a name that open_clip knows, or a folder with a model.", rich_help_panel=_MODEL),
]
_Pretrained = Annotated[
    str | None, _Text("--pretrained", help="Weights: a tag of open_clip or a checkpoint file.", rich_help_panel=_MODEL)
]
_Data = Annotated[str | None, _Text("--data", help="Folder of images, for models but tiny.", rich_help_panel=_MODEL)]
_Layout = Annotated[
    str,
    _Text(
        "--layout", help="Of that folder: office-31, office-home, or folders: domain/class/*.", rich_help_panel=_MODEL
    ),
]
_Domains = Annotated[
    str | None, _Text("--domains", help="Only these, with commas between; default all.", rich_help_panel=_MODEL)
]
_Lists = Annotated[
    str | None,
    _Text("--lists", help="Folder of list files that say which image is in which split.", rich_help_panel=_MODEL),
]
_Start = Annotated[
    str,
    _Text(
        "--start",
        help="Text of the prompt at the start, --n-ctx tokens; empty: zeros. Not for tiny.",
        rich_help_panel=_MODEL,
    ),
]
_NCtx = Annotated[int, number_option(int, "Tokens of the prompt. Not for tiny.", "--n-ctx", panel=_MODEL)]
_BatchSize = Annotated[int, number_option(int, "Images per task of a mini-batch.", "--batch-size", panel=_MODEL)]
_DataSeed = Annotated[int, number_option(int, "Of split and mini-batches.", "--data-seed", panel=_MODEL)]
_Device = Annotated[str, _Text("--device", help="cpu, cuda, ...", rich_help_panel=_MODEL)]
_AuthEnv = Annotated[
    str | None, _Text("--auth-env", help="Environment variable that holds the API key.", rich_help_panel=_HTTP)
]
_Name = Annotated[str, _Text("--name", help="Of the model, in the server's addresses.", rich_help_panel=_HTTP)]

app = typer.Typer(
    help="Tune CLIP prompts through queries: the model stays behind a server.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.command("serve")
def _serve(
    model: _Model = "tiny",
    pretrained: _Pretrained = None,
    data: _Data = None,
    layout: _Layout = "folders",
    domains: _Domains = None,
    lists: _Lists = None,
    start: _Start = "a photo of a",
    n_ctx: _NCtx = 4,
    batch_size: _BatchSize = 64,
    data_seed: _DataSeed = 0,
    device: _Device = "cpu",
    name: _Name = "clip",
    host: Annotated[str, _Text(help="Address to listen at.", rich_help_panel=_HTTP)] = "127.0.0.1",
    port: Annotated[int, number_option(int, "Port; 0 takes a free one.", panel=_HTTP)] = 8000,
    auth_env: _AuthEnv = None,
    log: Annotated[
        Path | None, _Text(help="Append a line of JSON for each request that is answered.", rich_help_panel=_HTTP)
    ] = None,
    dimension: Annotated[
        int | None, number_option(int, "Project v of this dimension here: requests may hold v.", panel=_HTTP)
    ] = None,
    projection_seed: Annotated[int, number_option(int, "Of that projection.", panel=_HTTP)] = 0,
    max_waiting: Annotated[int, number_option(int, "Requests at a time; more are told to wait.", panel=_HTTP)] = 64,
    stop_with_stdin: Annotated[
        bool, _Text("--stop-with-stdin", help="End when standard input is closed.", rich_help_panel=_HTTP)
    ] = False,
) -> int:
    """Serve the losses of prompts: forward queries in, losses out, nothing else. The first line printed is the URL."""
    served = _Served(model, pretrained, data, layout, domains, lists, start, n_ctx, batch_size, data_seed, device)

    def work() -> None:
        server = importlib.import_module("pyasmg.clip.server")
        server.check_place(port, auth_env)  # before the model is loaded, which takes its time
        task = served.task()
        projection = None
        if dimension is not None:
            from .clip.projection import Projection

            projection = Projection(dimension, task.n_ctx, task.width, task.token_embedding_std, projection_seed)
        server.serve(
            task,
            host=host,
            port=port,
            auth_env=auth_env,
            stop_with_stdin=stop_with_stdin,
            ready=lambda url: print(url, flush=True),
            name=name,
            projection=projection,
            log=log,
            max_waiting=max_waiting,
        )

    return _careful(work)


@app.command("tune")
def _tune(
    url: Annotated[str | None, _Text(help="The server to ask.", rich_help_panel=_HTTP)] = None,
    local: Annotated[
        bool, _Text("--local", help="Ask no server, but --model in this process.", rich_help_panel=_MODEL)
    ] = False,
    model: _Model = "tiny",
    pretrained: _Pretrained = None,
    data: _Data = None,
    layout: _Layout = "folders",
    domains: _Domains = None,
    lists: _Lists = None,
    start: _Start = "a photo of a",
    n_ctx: _NCtx = 4,
    batch_size: _BatchSize = 64,
    data_seed: _DataSeed = 0,
    device: _Device = "cpu",
    max_queries: Annotated[
        int | None, number_option(int, "Budget: each prompt on whatever images is one.", panel=_BUDGET)
    ] = None,
    price_per_query: Annotated[float | None, number_option(float, "What one costs.", panel=_BUDGET)] = None,
    max_cost: Annotated[
        float | None, number_option(float, "Budget in money, repeated questions included.", panel=_BUDGET)
    ] = None,
    validate_every: Annotated[
        int, number_option(int, "Generations between two validations, each a query; 0: never.", panel=_BUDGET)
    ] = 20,
    method: Annotated[str, _Text(help="asmg, asmg-ew, cma-es or es.")] = "asmg",
    dimension: Annotated[int, number_option(int, "Of v, in prompt = start + A v.")] = 256,
    popsize: Annotated[int, number_option(int, "Prompts per generation.")] = 20,
    sigma0: Annotated[float | None, number_option(float, "Standard deviation of v at the start.")] = None,
    seed: Annotated[int, number_option(int, "Of the search.")] = 0,
    projection_seed: Annotated[int | None, number_option(int, "Of A; default: --seed.")] = None,
    weighting_rule: Annotated[
        str | None,
        _Text("--weighting", help="For asmg: level, pareto, chebyshev, equal, or weights with commas."),
    ] = None,
    step_size: Annotated[str | None, _Text(help="For asmg: of the mean.")] = None,
    std_step_size: Annotated[str | None, _Text(help="For asmg: of the stds.")] = None,
    select: Annotated[str, _Text(help="best (on the validation split) or last.")] = "best",
    no_test: Annotated[bool, _Text("--no-test", help="Leave the test split alone.")] = False,
    store: Annotated[
        str | None, _Text(metavar="FILE", help="Keep the run in this SQLite file, and go on with it.")
    ] = None,
    resume: Annotated[str, _Text(help="auto, or never: refuse a store that holds a run already.")] = "auto",
    output: Annotated[
        str | None, _Text(metavar="FILE", help=f"Where the prompt goes; default {DEFAULT_PROMPT}.")
    ] = None,
    name: _Name = "clip",
    auth_env: _AuthEnv = None,
    send_v: Annotated[
        bool, _Text("--send-v", help="Send v; the server must have the projection.", rich_help_panel=_HTTP)
    ] = False,
    timeout: Annotated[float, number_option(float, "Seconds for a request.", panel=_HTTP)] = 60.0,
    attempts: Annotated[int, number_option(int, "How often a failed question is asked.", panel=_HTTP)] = 12,
    concurrency: Annotated[int, number_option(int, "Requests at a time.", panel=_HTTP)] = 1,
) -> int:
    """Tune one prompt for all domains of a server, or of a model here, and pay per query."""
    if local == (url is not None):
        raise OptionError("either --url or --local must be given.")
    served = _Served(model, pretrained, data, layout, domains, lists, start, n_ctx, batch_size, data_seed, device)
    path = output_path(output, DEFAULT_PROMPT)
    options: dict[str, Any] = {
        "method": method,
        "d": dimension,
        "popsize": popsize,
        "seed": seed,
        "projection_seed": projection_seed,
        "max_queries": max_queries,
        "price_per_query": price_per_query,
        "max_cost": max_cost,
        "validate_every": validate_every,
        "select": select,
        "test": not no_test,
        "store": store,
        "resume": resume,
        "send_v": send_v,
    }
    if sigma0 is not None:
        options["sigma0"] = sigma0
    if weighting_rule is not None:
        options["weighting"] = weighting(weighting_rule)
    for option, text in (("step_size", step_size), ("std_step_size", std_step_size)):
        if text is not None:
            options[option] = step("--" + option.replace("_", "-"), text)

    def work() -> int:
        from .minimize import EvaluationError

        tuner = importlib.import_module("pyasmg.clip._tune")
        failure = ""
        with signals() as received:
            try:
                if local:
                    result = tuner.tune(served.task(), model_name=model, **options)
                else:
                    client = importlib.import_module("pyasmg.clip.client")
                    limits = {"timeout": timeout, "attempts": attempts, "concurrency": concurrency}
                    with client.RemoteTask(url, model=name, auth_env=auth_env, patience=PATIENCE, **limits) as remote:
                        result = tuner.tune(remote, model_name=name, **options)
            except EvaluationError as error:
                result, failure = cast(Any, error).tuned, str(error)
        _show(result, path)
        if failure:
            complain(failure)
            return 1
        if "interrupted" in result.run.stop:
            return 128 + (received[0] if received else signal.SIGINT)
        return 0 if result.run.success else 1

    return _careful(work)


def _show(result: Any, path: Path) -> None:
    """Write the prompt, print the table."""
    from rich.console import Console

    result.save(path)
    console = Console(width=None if sys.stdout.isatty() else 120)
    if result.tuned is not None:
        console.print(result.table())
    console.print(result.summary(), highlight=False)
    console.print(f"written: {path}", highlight=False)


@app.command("demo")
def _demo(
    max_queries: Annotated[int | None, number_option(int, "Budget of the search.")] = None,
    dimension: Annotated[int | None, number_option(int, "Of v.")] = None,
    seed: Annotated[int, number_option(int, "Of the search.")] = 0,
) -> int:
    """Start a server with a tiny CLIP, tune its prompt through HTTP, and print what that gained: under a minute."""
    given = {"max_queries": max_queries, "d": dimension}

    def work() -> int:
        demo = importlib.import_module("pyasmg.clip.demo")
        result = demo.run_demo(seed=seed, **{name: value for name, value in given.items() if value is not None})
        return 0 if result.run.success else 1

    return _careful(work)


class _Served(NamedTuple):
    """The options that say what is asked."""

    model: str
    pretrained: str | None
    data: str | None
    layout: str
    domains: str | None
    lists: str | None
    start: str
    n_ctx: int
    batch_size: int
    data_seed: int
    device: str

    def task(self) -> Any:
        """Return the task."""
        clip = importlib.import_module("pyasmg.clip")
        domains = None if self.domains is None else [name.strip() for name in self.domains.split(",")]
        batches = {"batch_size": self.batch_size, "seed": self.data_seed}
        if self.model == "tiny":
            if self.pretrained is not None or self.data is not None or self.lists is not None:
                raise OptionError("--pretrained, --data and --lists are for other models than tiny.")
            return clip.tiny(domains, **batches)
        if self.data is None:
            raise OptionError("--data must name the folder of images.")
        return clip.from_folders(
            self.data,
            clip.load(self.model, self.pretrained, device=self.device),
            layout=self.layout,
            domains=domains,
            lists=self.lists,
            start=self.start or None,
            n_ctx=self.n_ctx,
            split_seed=self.data_seed,
            **batches,
        )


def _careful(work: Callable[[], int | None]) -> int:
    """Do it, and put what goes wrong into one line."""
    try:
        return work() or 0
    except (ValueError, TypeError) as error:
        raise in_options(error) from error
    except OSError as error:
        complain(str(error))
        return 1
    except RuntimeError as error:
        if type(error).__module__.startswith("pyasmg."):
            complain(str(error))
            return 1
        raise
