"""Writes docs/cli.md from the `--help` of every command: `python docs/make_cli.py`."""

from collections.abc import Iterator
from pathlib import Path

import click

from kerasft.cli.main import cli

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 88

HEAD = """# The command line

Written by `python docs/make_cli.py` from each command's `--help`; a test fails when the two
part. Exit codes: 0 on success, 1 on a failure that is explained on the standard error (and as
`{"error": …, "type": …}` on the standard output with `--json`), 2 on wrong usage, 130 after
Ctrl-C.
"""


def page() -> str:
    """The whole page."""
    sections = [
        f"{'#' * min(2 + depth, 3)} {path}\n\n```\n{text}\n```\n"
        for depth, path, text in _helps(cli, "kerasft", None, 0)
    ]
    return "\n".join([HEAD, *sections])


def _helps(
    command: click.Command, path: str, parent: click.Context | None, depth: int
) -> Iterator[tuple[int, str, str]]:
    """(depth, full name, help) of a command and all below it, as the terminal shows them."""
    context = click.Context(
        command,
        info_name=path.split()[-1],
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    yield depth, path, command.get_help(context).rstrip()
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            yield from _helps(inner, f"{path} {name}", context, depth + 1)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
