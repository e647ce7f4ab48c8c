"""The Modelfile by which Ollama runs a GGUF file in the turns that were trained.

Source of the format: Ollama's Modelfile reference and its template engine (Go's
text/template with .System, .Prompt and .Response). Ollama puts BOS in front itself,
as the GGUF file says, and cuts the template after .Response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerasft.data.turns import TURNS
from kerasft.export.views import stop_ids

if TYPE_CHECKING:
    from kerasft.data.prompts import Template
    from kerasft.export.views import WeightsView


def modelfile(weights: WeightsView, file: str) -> str:
    """The text of a Modelfile.

    Args:
        weights: the trained model.
        file: name of the GGUF file beside it.
    """
    template, family = weights.template, weights.family
    stops = [weights.tokenizer.decode([index], skip_special=False) for index in stop_ids(weights)]
    lines = [
        f"FROM ./{file}",
        "",
        *_trained_prompt(template),
        f'TEMPLATE """{go_template(template)}"""',
        "",
        *(f'PARAMETER stop "{text}"' for text in stops),
        "PARAMETER temperature 0",
        "",
        f'LICENSE "{family.licence}, {family.licence_page}"',
    ]
    return "\n".join(lines) + "\n"


def go_template(template: Template) -> str:
    """A conversation's turns in Go's template syntax; without turns the prompt alone."""
    if template.turns is None:
        return "{{ .Prompt }}"
    turns = TURNS[template.turns]
    end = turns.stop + turns.closing

    def opening(role: str) -> str:
        return turns.opening.replace("{role}", turns.roles[role])

    if turns.system:
        system = f"{{{{ if .System }}}}{opening('system')}{{{{ .System }}}}{end}{{{{ end }}}}"
        user = f"{system}{opening('user')}"
    else:
        user = f"{opening('user')}{{{{ if .System }}}}{{{{ .System }}}}\n\n{{{{ end }}}}"
    return f"{user}{{{{ .Prompt }}}}{end}{opening('assistant')}{{{{ .Response }}}}{end}"


def _trained_prompt(template: Template) -> list[str]:
    """Comments that tell what a prompt looked like in training."""
    if template.takes_messages:
        return []
    return [
        "# It was trained on prompts of this form. A column's text stands for {column}; what is",
        "# between [[ and ]] is left out where the column in it is empty.",
        *(f"#   {line}".rstrip() for line in template.prompt.split("\n")),
        "",
    ]
