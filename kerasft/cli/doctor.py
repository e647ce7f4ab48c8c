"""`kerasft doctor`: what this machine can run, and what a recipe will need of it."""

from collections.abc import Mapping
from typing import Any

import click

from kerasft.cli.options import backend_option, json_option, recipe_option, set_option
from kerasft.cli.output import console, number, print_error, print_json, size, table
from kerasft.recipe import as_settings


@click.command()
@recipe_option(required=False, help="Say what this recipe will need, and whether it can run here.")
@backend_option
@set_option
@json_option
def doctor(
    recipe: str | None, backend: str | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Show what this machine can run, and whether a recipe can run on it.

    \b
    kerasft doctor
    kerasft doctor --recipe sql --backend jax

    Loads and downloads no weights. Exits 1 where something must change first.
    """
    if recipe is None and (overrides or backend):
        raise click.UsageError("--backend and --set go with --recipe.")
    from kerasft.doctor import examine

    found = examine(recipe, backend=backend, **as_settings(overrides))
    if as_json:
        print_json(found)
    else:
        _print(found)
    if found["problems"]:
        click.get_current_context().exit(1)


def _print(found: Mapping[str, Any]) -> None:
    out = console()
    system = found["system"]
    memory = [f"{size(system[key])} {what}" for key, what in _MEMORY if system[key] is not None]
    rows = [
        ["system", system["platform"]],
        ["processor", ", ".join([f"{system['cores']} cores", *memory])],
        ["packages", ", ".join(f"{name} {version}" for name, version in found["packages"].items())],
    ]
    rows += [
        [
            f"GPU {gpu['index']}",
            f"{gpu['name']}, {size(gpu['total_bytes'])}, "
            f"{size(gpu['free_bytes'])} free, driver {gpu['driver']}",
        ]
        for gpu in found["gpus"]
    ]
    rows += [[name, _backend(each)] for name, each in found["backends"].items()]
    logins = [f"{name}: {'yes' if there else 'no'}" for name, there in found["logins"].items()]
    rows += [["logins", ", ".join(logins)], ["free disk here", size(found["disk"]["runs"])]]
    out.print(table("", ["", ""], rows))
    rows = [
        [
            name,
            "installed" if not each["missing"] else f"pip install 'kerasft[{name}]'",
            each["for"],
        ]
        for name, each in found["extras"].items()
    ]
    out.print(table("\nextras", ["", "", ""], rows))
    rows = [
        [each["name"], size(each["bytes"]), size(found["disk"][each["name"]]), str(each["path"])]
        for each in found["caches"]
    ]
    out.print(table("\ncaches", ["", "size ", "free ", "folder"], rows))
    if found["recipe"]:
        out.print(table("\nthe recipe needs", ["", ""], _needs(found["recipe"])))
    for note in found["notes"]:
        out.print()
        click.echo(f"Note: {note}.")
    for problem in found["problems"]:
        print_error(problem)


_MEMORY = (("ram_bytes", "of memory"), ("free_ram_bytes", "free"))


def _backend(found: Mapping[str, Any]) -> str:
    if found["problem"]:
        return f"does not work: {found['problem']}"
    device, native = found["device"], ", ".join(found["native_dtypes"])
    memory = f", {size(device['memory_bytes'])}" if device["memory_bytes"] else ""
    return (
        f"works, {found['build']} build, on {device['kind']}: {device['name']}{memory}; "
        f"computes in {native}; model.dtype = auto is {found['auto_dtype']}"
    )


def _needs(plan: Mapping[str, Any]) -> list[list[str]]:
    def bytes_of(key: str) -> str:
        return "not known" if plan[key] is None else size(plan[key])

    return [
        ["base", f"{plan['preset']}, {number(plan['base_parameters'])} parameters"],
        ["download", bytes_of("download_bytes")],
        ["run folder", bytes_of("disk_bytes")],
        ["dtype, remat", f"{plan['dtype']}, {plan['remat'] or 'not known'}"],
        ["memory, predicted", bytes_of("memory_bytes")],
        ["memory, available", bytes_of("available_bytes")],
        ["steps", number(plan["steps"])],
    ]
