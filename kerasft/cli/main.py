"""`kerasft`: the group of all commands, and what becomes of an error.

A command is imported when it is called or when its own help is asked for. The
group's help names them all from the table below and imports none.
"""

import difflib
import os
import platform
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple, NoReturn

import click

from kerasft.errors import KerasftError, OutOfMemory


class Entry(NamedTuple):
    """Where a command lies, and its line in the group's help."""

    module: str
    attribute: str
    help: str


COMMANDS = {
    "train": Entry("kerasft.cli.train", "train", "Fine-tune a model as a recipe says."),
    "eval": Entry("kerasft.cli.eval", "evaluate", "Score a run or a bare model."),
    "generate": Entry("kerasft.cli.generate", "generate", "Answer a prompt, or a file of them."),
    "ask": Entry("kerasft.cli.ask", "ask", "Answer questions about a database, read-only."),
    "export": Entry("kerasft.cli.export", "export", "Write a run as a model that others load."),
    "compare": Entry("kerasft.cli.compare", "compare", "Compare engines on one recipe, or runs."),
    "bench": Entry("kerasft.cli.bench", "bench", "Measure training and decoding beside peers."),
    "report": Entry("kerasft.cli.report", "report", "Write a run or a comparison as a page."),
    "inspect": Entry("kerasft.cli.inspect", "inspect", "Show what a recipe will train on."),
    "synth": Entry("kerasft.cli.synth", "synth", "Make text-to-SQL rows that execute."),
    "recipes": Entry("kerasft.cli.recipes", "recipes", "List, show, copy or check recipes."),
    "kaggle": Entry("kerasft.cli.kaggle", "kaggle", "Run a recipe on Kaggle or Colab."),
    "doctor": Entry("kerasft.cli.doctor", "doctor", "Show what this machine can run."),
    "runs": Entry("kerasft.cli.runs", "runs", "List runs and caches, or delete runs."),
}

OTHERWISE = (
    "end other programs that use the device (`kerasft doctor` shows what is free)",
    "choose a smaller model",
)
"""What helps where memory runs out in a command that has no setting for it."""

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the signal's number, as shells have it."""


class LazyGroup(click.Group):
    """A group whose commands are named in `COMMANDS` and imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        return getattr(import_module(entry.module), entry.attribute)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            ctx.fail(f"There is no command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


def _print_versions(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from kerasft.versions import versions

    found = versions()
    click.echo(f"kerasft {found.pop('kerasft', '(not installed)')}, {_python()}")
    click.echo(", ".join(f"{name} {number}" for name, number in found.items() if name != "python"))
    ctx.exit()


def _python() -> str:
    return f"Python {platform.python_version()}"


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_versions,
    help="Print the versions of kerasft, Python and the frameworks.",
)
@click.option(
    "--traceback",
    is_flag=True,
    expose_value=False,
    help="Show where an unexpected error comes from (or set KERASFT_TRACEBACK=1).",
)
def cli() -> None:
    """Fine-tune Gemma and its KerasHub siblings with Keras, on torch or on JAX.

    \b
    kerasft train --recipe sql --backend torch
    kerasft generate runs/sql-… "How many orders were placed in May?"
    kerasft export runs/sql-… --to hf --out my-model
    """


def main() -> NoReturn:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code.

    0 on success; 1 on a failure, explained in a sentence or two on stderr, and with
    `--json` as an object on stdout too; 2 on wrong usage; 130 after Ctrl-C.
    """
    options = args[: args.index("--")] if "--" in args else args
    try:
        # Outside standalone mode click returns the code that `ctx.exit` was given.
        code = cli.main(list(args), prog_name="kerasft", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _explain("Stopped.", KeyboardInterrupt.__name__, "--json" in options)
        return INTERRUPTED
    except KerasftError as error:
        if _wants_traceback(options):
            _print_traceback()
        _explain(str(error), type(error).__name__, "--json" in options)
    except Exception as error:
        if _wants_traceback(options):
            _print_traceback()
        from kerasft.out_of_memory import is_out_of_memory, told

        if is_out_of_memory(error):
            message = told(error, "running this command", OTHERWISE)
            _explain(message, OutOfMemory.__name__, "--json" in options)
            return 1
        hint = "" if _wants_traceback(options) else "\nkerasft --traceback … shows where."
        name = type(error).__name__
        _explain(f"unexpected {name}: {error}{hint}", name, "--json" in options)
    return 1


def _wants_traceback(options: Sequence[str]) -> bool:
    return "--traceback" in options or os.environ.get("KERASFT_TRACEBACK", "0") not in ("", "0")


def _print_traceback() -> None:
    from kerasft.masking import masked

    click.echo(masked(traceback.format_exc()), err=True)


def _explain(message: str, kind: str, as_json: bool) -> None:
    from kerasft.cli.output import print_error, print_json
    from kerasft.masking import masked

    message = masked(message)
    print_error(message)
    if as_json:
        print_json({"error": message, "type": kind})
