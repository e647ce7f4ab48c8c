"""The cells of a notebook that runs a recipe.

Each function gives the source of one cell. What can be computed before the notebook runs is
written into it as plain values, so that its reader sees what will happen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kerasft.backend import Backend
from kerasft.budget import KAGGLE_AFTERWARDS
from kerasft.durations import written
from kerasft.kaggle.accelerators import Accelerator

MARKDOWN, CODE = "markdown", "code"

COLAB_SECONDS = 12 * 3600
"""The longest session of Colab."""

_LIMITS = "https://www.kaggle.com/docs/notebooks, Technical Specifications"
_COLAB_LIMITS = "https://research.google.com/colaboratory/faq.html"


@dataclass(frozen=True)
class Contents:
    """What a notebook does.

    Attributes:
        title: of the notebook.
        slug: the title as addresses and folders have it.
        recipe_name: the recipe's file without `.toml`.
        recipe: its text, every default written out.
        accelerator: that it is written for.
        backend: that trains.
        packages: what pip installs.
        wheels: whether pip looks for them in wheels among the inputs.
        offline: whether it looks nowhere else.
        secrets: name of each secret that is looked for, and whether it must be there.
        export: a format of `kerasft export`; "" for none.
        push: where the export goes; "" for nowhere.
        overwrite: whether a push may replace what is there.
        version: of kerasft.
    """

    title: str
    slug: str
    recipe_name: str
    recipe: str
    accelerator: Accelerator
    backend: Backend
    packages: Sequence[str]
    wheels: bool
    offline: bool
    secrets: dict[str, bool]
    export: str
    push: str
    overwrite: bool
    version: str


def cells(contents: Contents, colab: bool = False) -> Iterator[tuple[str, str, str]]:
    """(id, kind, source) of each cell in order."""
    yield "about", MARKDOWN, _about(contents, colab)
    yield "parameters", CODE, _parameters(contents, colab)
    yield "install", CODE, _install(contents, colab)
    if contents.secrets:
        yield "login", CODE, _login(contents.secrets, colab)
    yield "recipe", CODE, f"%%writefile {contents.recipe_name}.toml\n{contents.recipe.rstrip()}"
    yield "train", CODE, _train(contents, colab)
    yield "eval", CODE, 'if session.finished:\n    session.kerasft("eval", "run", "--base")'
    yield "report", CODE, _REPORT
    if contents.export:
        yield "export", CODE, _export(contents)


def _about(contents: Contents, colab: bool) -> str:
    accelerator = contents.accelerator
    if colab:
        going_on = (
            "The run folder lies on Google Drive. Colab may end a session at any time: run the "
            "notebook again, and it goes on from the last checkpoint."
        )
        machine, note = f"Colab, {accelerator.colab or accelerator.title}", accelerator.note
    else:
        going_on = (
            f"Kaggle ends a session after {written(accelerator.session_seconds)}. Training stops "
            "before that, saves, and the version ends well. Save and run another version: it finds "
            "this one's output among its inputs and goes on from the same step, with the same "
            "result as if it had never stopped. When training is finished, scores and export "
            "follow."
        )
        machine = f"Kaggle, {accelerator.title}"
        note = f"{accelerator.on_kaggle} {accelerator.note}".strip()
    return "\n\n".join(
        [
            f"# {contents.title}",
            f"Trains the recipe `{contents.recipe_name}` with kerasft {contents.version} on "
            f"{machine}, backend `{contents.backend}`.",
            f"**The device.** {note}",
            f"**More than one session.** {going_on}",
        ]
    )


def _parameters(contents: Contents, colab: bool) -> str:
    if colab:
        limit = COLAB_SECONDS
        places = [
            "# The run, its scores and the export; a folder that outlives the session.",
            f"WORKING = {_literal(f'/content/drive/MyDrive/kerasft/{contents.slug}')}",
            f"# The most that Colab gives ({_COLAB_LIMITS}); it may be less.",
        ]
    else:
        limit = contents.accelerator.session_seconds
        places = [
            "# Outputs of earlier versions and data sets lie here, read-only.",
            'INPUT = "/kaggle/input"',
            "# What lies here at the end is this version's output.",
            'WORKING = "/kaggle/working"',
            f"# Kaggle's limit ({_LIMITS}).",
        ]
    return "\n".join(
        [
            "import time",
            "",
            "STARTED = time.time()",
            *places,
            f"SESSION = {_literal(written(limit))}",
            "# Of it, for scores, export and push.",
            f"RESERVE = {_literal(written(KAGGLE_AFTERWARDS))}",
            f"BACKEND = {_literal(contents.backend)}",
            f"PACKAGES = {_literal(list(contents.packages))}",
        ]
    )


def _install(contents: Contents, colab: bool) -> str:
    lines = ["import os", "import subprocess", "import sys", "from pathlib import Path", ""]
    if colab:
        lines += [
            "from google.colab import drive",
            "",
            'drive.mount("/content/drive")',
        ]
    if contents.wheels:
        alone = '"--no-index", ' if contents.offline else ""
        lines += [
            "# The wheels of the attached data set.",
            'wheels = sorted({str(file.parent) for file in Path(INPUT).rglob("*.whl")})',
            f'PACKAGES += [{alone}*(f"--find-links={{folder}}" for folder in wheels)]',
        ]
    return "\n".join(
        [
            *lines,
            'subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *PACKAGES], '
            "check=True)",
            "Path(WORKING).mkdir(parents=True, exist_ok=True)",
            "os.chdir(WORKING)",
        ]
    )


def _login(secrets: dict[str, bool], colab: bool) -> str:
    if colab:
        client, get, where = (
            "from google.colab import userdata",
            "userdata.get(name)",
            "the key symbol at the left",
        )
    else:
        client, get, where = (
            "from kaggle_secrets import UserSecretsClient",
            "UserSecretsClient().get_secret(name)",
            "Add-ons › Secrets",
        )
    listed = ", ".join(f"{_literal(name)}: {needed}" for name, needed in secrets.items())
    return f"""{client}

# Kept under {where}; never printed, and masked in all that kerasft prints and writes.
for name, needed in {{{listed}}}.items():
    try:
        os.environ[name] = {get}
        print(name, "is set")
    except Exception as error:
        print(name, "is not attached:", type(error).__name__)
        if needed:
            raise RuntimeError(f"Attach the secret {{name}} under {where}.") from None"""


def _train(contents: Contents, colab: bool) -> str:
    kind = contents.accelerator.kind
    device = f", {_literal(kind)}" if kind != "cpu" else ""
    earlier = "" if colab else "\n    earlier=INPUT,"
    return f"""from kerasft.kaggle.session import Session

session = Session(
    "run",
    {_literal(contents.recipe_name + ".toml")},
    started=STARTED,
    limit=SESSION,
    reserve=RESERVE,{earlier}
)
session.train(BACKEND{device})"""


_REPORT = """from IPython.display import Image, Markdown, display

from kerasft.kaggle.page import markdown

for plot in sorted(Path("run/plots").glob("*.png")):
    display(Image(filename=str(plot)))
display(Markdown(markdown("run")))"""


def _export(contents: Contents) -> str:
    folder = _literal(f"export-{contents.export}")
    push = [_literal("--push"), _literal(contents.push)] if contents.push else []
    push += [_literal("--yes")] if contents.push and contents.overwrite else []
    arguments = ", ".join(['"export"', '"run"', "*how", *push])
    return "\n".join(
        [
            "if session.finished:",
            f"    made = Path({folder})",
            '    how = ["--verify", made] if made.exists() else '
            f'["--to", {_literal(contents.export)}, "--out", made]',
            f"    session.kerasft({arguments})",
        ]
    )


def _literal(value: str | list[str]) -> str:
    """Text, or a list of it, as Python has it too."""
    return json.dumps(value, ensure_ascii=False)
