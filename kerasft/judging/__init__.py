"""An optional judge: another model, behind any OpenAI-compatible endpoint, grades answers.

`Judge.grade` gives one `Grade` a row, `summarise_grades` a dict for JSON. docs/judge.md says
what is sent and how replies are read.
"""

from kerasft.judging.endpoint import Judge
from kerasft.judging.grades import Grade, Prices, Verdict, summarise_grades

__all__ = ["Grade", "Judge", "Prices", "Verdict", "summarise_grades"]
