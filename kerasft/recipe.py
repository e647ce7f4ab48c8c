"""Recipes: every setting of a run, declared once.

A recipe is a TOML file. Each field below is the single place where a setting,
its unit, its default and its reason stand: `--set`, `recipes show`, the dry run,
the resolved `recipe.toml` of a run and the documentation are read from here.
"""

import copy
import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from kerasft.durations import seconds_of
from kerasft.errors import RecipeError, collected

TARGETS = ("query", "key", "value", "output", "gate", "up", "down")
"""Canonical names of the linear layers of a decoder block."""

_TOML_NAMES = {str: "text", int: "integer", float: "number", bool: "true | false", dict: "table"}

RECIPES = Path(__file__).parent / "_recipes"
"""Where the shipped recipes lie in an installed wheel."""


class _Section(BaseModel):
    # Strict: `rank = true` or `rank = "8"` is a slip, not a number.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ModelSettings(_Section):
    preset: str = Field(
        description="The base model: `gemma3-270m`, a KerasHub preset, `kaggle://…`, "
        "`hf://org/name`, a local Keras or Hugging Face folder, or a `.gguf` file."
    )
    dtype: Literal["auto", "bfloat16", "float32", "float16"] = Field(
        "auto",
        description="Type of the frozen base. `auto` is bfloat16 where the device computes in it "
        "(GPUs since Ampere; under torch CPUs with AVX-512 BF16 or AMX), else float32. The adapter "
        "is always float32.",
    )
    quantization: Literal["none", "float8", "float8-backward", "int8-backward"] = Field(
        "none",
        description="Type that the blocks' frozen matrices are rounded to for training. `float8` "
        "(e4m3, a scale for each row) needs an NVIDIA GPU from Hopper on and a bfloat16 base, and "
        "is faster where matrices are large. With `float8-backward` the forward pass, and so "
        "every loss, is that of the base as it is, and the gradients' products alone are in "
        "float8. `int8-backward` is the same in int8, for torch on CPUs with VNNI. Training and "
        "validation compute with it; answers, evaluation and export take the base as it is.",
    )


class LoraSettings(_Section):
    layout: Literal["keras", "peft"] = Field(
        "keras",
        description="`keras`: KerasHub's parametrisation (A per head, B shared). "
        "`peft`: one A and one B a projection, as PEFT has it.",
    )
    rank: Annotated[int, Field(ge=1, le=1024)] = Field(4, description="Rank of the adapter.")
    alpha: Annotated[float, Field(gt=0)] | None = Field(
        None, description="The adapter is scaled by alpha / rank; the rank where it is not given."
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Dropout on the input of the adapter, while training."
    )
    target_layers: list[Literal[TARGETS]] = Field(  # type: ignore[valid-type]
        ["query", "value"],
        min_length=1,
        description="Linear layers that get an adapter, by canonical name.",
    )
    init_from: str | None = Field(
        None,
        description="Start from this adapter: a run, its adapter folder, or a PEFT adapter "
        "folder (`peft` layout).",
    )

    @property
    def scale(self) -> float:
        """Factor of the low-rank product: alpha / rank."""
        return (self.rank if self.alpha is None else self.alpha) / self.rank


class DataSettings(_Section):
    source: str = Field(
        description="`synth`, a Hugging Face dataset id, or a local JSONL, CSV or Parquet file "
        "or folder."
    )
    columns: dict[str, str] = Field(
        {}, description="Task column = column of the source, where their names differ."
    )
    split: str = Field("train", description="Split of a Hub dataset or of a local folder.")
    config: str | None = Field(None, description="Configuration of a Hub dataset.")
    revision: str | None = Field(None, description="Commit of a Hub dataset.")
    schemas: str | None = Field(
        None,
        description="Spider's tables.json: builds the context from a row's `db_id`.",
    )
    only_empty: list[str] = Field([], description="Keep the rows in which these columns are empty.")
    limit: Annotated[int, Field(ge=0)] = Field(
        0, description="Rows used, after shuffling by the seed; 0 for all."
    )
    seed: int = Field(0, description="Seed of the shuffle and of the split.")
    validation: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="Held-out rows: a share below 1, else a count. One (prompt, context) is "
        "never on both sides.",
    )


class CustomTemplate(_Section):
    prompt: str = Field(description="Text with {column} slots; markers stand as <marker>.")
    completion: str = Field(description="Text with {column} slots that is trained on.")
    stop: str = Field("<eos>", description="Token that ends the completion.")


class PromptSettings(_Section):
    template: str = Field(
        description="A named template (`gemma`, `llama3`, `alpaca`, `instruction`), `chat` or "
        "`chat-llama3` for rows of `messages`, or `custom` for the one under `[prompt.custom]`."
    )
    custom: CustomTemplate | None = Field(None, description="A template written out here.")
    mask_prompt: bool = Field(
        True, description="Train on the completion only; false trains on every token."
    )
    context: Literal["full", "schema"] = Field(
        "full",
        description="`schema` keeps the CREATE statements of a context and leaves its rows out.",
    )
    long_rows: Literal["drop", "trim"] = Field(
        "drop",
        description="What happens to a row over `sequence_length`: dropped, or its context cut "
        "to the schema first. An answer is never cut.",
    )

    @model_validator(mode="after")
    def _custom_is_given(self) -> "PromptSettings":
        if (self.template == "custom") != (self.custom is not None):
            raise ValueError('[prompt.custom] and template = "custom" go together')
        return self


class TrainSettings(_Section):
    sequence_length: Annotated[int, Field(ge=8)] = Field(
        512, description="Longest row, in tokens; rows over it are dropped or trimmed."
    )
    packing: bool = Field(
        True,
        description="Several rows of the data in one row of `sequence_length`, each attending to "
        "itself alone; false puts one in a row, with rows of like length beside it.",
    )
    batch_size: Annotated[int, Field(ge=1)] = Field(
        8, description="Rows a micro-batch; packed rows with `packing`."
    )
    gradient_accumulation: Annotated[int, Field(ge=1)] = Field(
        1, description="Micro-batches an optimizer step; the loss is their token mean."
    )
    epochs: Annotated[int, Field(ge=1)] = Field(1, description="Passes over the rows.")
    max_steps: Annotated[int, Field(ge=0)] = Field(
        0, description="Optimizer steps at the most; 0 for no limit."
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(2e-4, description="Highest learning rate.")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "linear", description="How the rate falls to zero after the warm-up."
    )
    warmup: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Steps of linear warm-up; a value below 1 is a share of all steps."
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        0.0, description="AdamW's decoupled weight decay, on A and B."
    )
    beta_1: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="AdamW's beta 1.")
    beta_2: Annotated[float, Field(ge=0, lt=1)] = Field(0.999, description="AdamW's beta 2.")
    epsilon: Annotated[float, Field(gt=0)] = Field(1e-8, description="AdamW's epsilon.")
    clip_norm: Annotated[float, Field(ge=0)] = Field(
        1.0, description="Largest global gradient norm; 0 for no clipping."
    )
    seed: int = Field(0, description="Seed of A, of dropout and of the order of the rows.")
    time_budget: str | None = Field(
        None,
        description="Wall-clock time of one call, such as `8h30m`, `15m` or `30s`: before it is "
        "used up, the run saves, stops and exits 0. On Kaggle, where it is not set, what the "
        "session has left less 45 minutes.",
    )
    checkpoint_every: Annotated[int, Field(ge=0)] = Field(
        200, description="Optimizer steps between checkpoints; 0 for none by the count of steps."
    )
    checkpoint_minutes: Annotated[float, Field(ge=0)] = Field(
        10.0,
        description="Minutes after which a checkpoint is written in any case, which is what a "
        "kill can take; 0 for none by the clock. The last step is always saved.",
    )
    keep_checkpoints: Annotated[int, Field(ge=2)] = Field(
        2, description="Checkpoints kept; the oldest goes when a newer one has been read back."
    )
    on_bad_step: Literal["stop", "skip"] = Field(
        "stop",
        description="At a loss or gradient that is not finite: `stop` ends the run with the last "
        "checkpoint whole; `skip` leaves the update out and counts it, ten in a row at the most.",
    )
    validate_every: Annotated[int, Field(ge=0)] = Field(
        0, description="Optimizer steps between validations; 0 for one an epoch."
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Validations without a better loss before the run stops; 0 never stops. The "
        "best adapter is kept either way.",
    )
    remat: Literal["auto", "none", "block"] = Field(
        "auto",
        description="`block` keeps the input of each block and computes the rest again for "
        "the gradient: less memory, a second forward pass. `auto` does so where memory is short.",
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether torch compiles its step, where there is a compiler; `auto` does in "
        "runs of 50 micro-batches or more. JAX always compiles.",
    )
    deterministic: bool = Field(
        False,
        description="On a GPU, only algorithms that give the same bits each time, so that a "
        "resumed run equals an uninterrupted one bit for bit; slower. CPUs need no setting.",
    )

    tensorboard: bool = Field(
        False,
        description="Write the steps and validations to RUN/tensorboard too, for TensorBoard; "
        "needs the extra `tensorboard`.",
    )

    @field_validator("time_budget")
    @classmethod
    def _is_a_length_of_time(cls, value: str | None) -> str | None:
        if value is not None:
            seconds_of(value)
        return value


class EvalSettings(_Section):
    limit: Annotated[int, Field(ge=0)] = Field(100, description="Rows scored; 0 for all.")
    max_new_tokens: Annotated[int, Field(ge=1)] = Field(
        128, description="Longest answer, in tokens."
    )
    batch_size: Annotated[int, Field(ge=1)] = Field(16, description="Prompts decoded together.")
    samples: Annotated[int, Field(ge=0)] = Field(
        3, description="Held-out rows that `train` answers before and after training."
    )


class Recipe(_Section):
    """Every setting of a run. See `load` for how one is read."""

    description: str = Field("", description="One line for `recipes list`.")
    task: Literal["text_to_sql", "instruct"] = Field(
        description="What the rows are, and how an answer is judged."
    )
    model: ModelSettings
    lora: LoraSettings = LoraSettings()
    data: DataSettings
    prompt: PromptSettings
    train: TrainSettings = TrainSettings()
    eval: EvalSettings = EvalSettings()

    @model_validator(mode="after")
    def _patience_has_rows_to_watch(self) -> "Recipe":
        if self.train.patience and not self.data.validation:
            raise ValueError(
                "train.patience watches the validation loss: set data.validation, or patience = 0"
            )
        return self


Overrides = Iterable[str] | Mapping[str, Any]
"""`section.key=value` texts, or dotted names with their values."""


def names() -> list[str]:
    """Names of the shipped recipes, sorted."""
    return sorted(path.stem for path in shipped().glob("*.toml"))


def shipped() -> Path:
    """The folder of the shipped recipes, from a wheel or an editable checkout."""
    return RECIPES if RECIPES.is_dir() else Path(__file__).parent.parent / "recipes"


def find(name_or_path: str) -> Path:
    """The file of a recipe: a shipped name, or a path to a TOML file.

    Raises:
        RecipeError: neither; the nearest shipped names are suggested.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        if path.is_file():
            return path
        raise RecipeError(f"no recipe file at {name_or_path}; `kerasft recipes list` has the names")
    candidate = shipped() / f"{name_or_path}.toml"
    if name_or_path in names():
        return candidate
    near = difflib.get_close_matches(name_or_path, names(), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise RecipeError(
        f"there is no recipe {name_or_path!r}{hint} The shipped ones are {', '.join(names())}; "
        "a file of your own is given by its path, ending in .toml"
    )


def load(name_or_path: str, overrides: Overrides = ()) -> Recipe:
    """Read a recipe and apply `section.key=value` overrides.

    Args:
        name_or_path: a shipped recipe's name, or a TOML file.
        overrides: as given to `--set`; values are TOML, bare words are text. Or a
            mapping of dotted names to values.

    Raises:
        RecipeError: all faults of file and overrides at once.
    """
    path = find(name_or_path)
    try:
        settings = tomllib.loads(path.read_text("utf-8-sig"))  # Windows editors write a BOM
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(f"{path} is not a TOML file in UTF-8: {error}") from error
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from error
    return resolve(settings, overrides, where=str(name_or_path))


def resolve(
    settings: Mapping[str, Any], overrides: Overrides = (), where: str = "recipe"
) -> Recipe:
    """Check a mapping of settings with overrides applied.

    Raises:
        RecipeError: all faults at once, each with the field's path.
    """
    merged = copy.deepcopy(dict(settings))
    faults: list[str] = []
    for text, path, value in map(_parsed, _listed(overrides)):
        fault = _apply(merged, path, value)
        if fault is not None:
            faults.append(f"--set {text}: {fault}")
    try:
        recipe = Recipe.model_validate(merged)
    except ValidationError as error:
        faults.extend(_fault(problem) for problem in error.errors())
    if faults:
        raise RecipeError(collected(f"{where} has faults", faults))
    return recipe


def override(recipe: Recipe, overrides: Overrides) -> Recipe:
    """A recipe with some settings changed. Errors as `resolve`."""
    return resolve(recipe.model_dump(exclude_none=True), overrides)


def as_settings(overrides: Iterable[str]) -> dict[str, Any]:
    """`section.key=value` texts as dotted names with their values, the last of a name winning.

    Raises:
        RecipeError: texts that are no such thing, all at once.
    """
    parsed = [_parsed(text) for text in overrides]
    faults = [f"--set {text}: expected section.key=value" for text, path, _ in parsed if not path]
    if faults:
        raise RecipeError(collected("--set has faults", faults))
    return {path: value for _, path, value in parsed}


def to_toml(recipe: Recipe) -> str:
    """The resolved recipe with every default written out, readable by `load`."""
    lines = [
        f"{key} = {_toml(getattr(recipe, key))}"
        for key in Recipe.model_fields
        if not isinstance(getattr(recipe, key), _Section)
    ]
    for key in Recipe.model_fields:
        section = getattr(recipe, key)
        if isinstance(section, _Section):
            lines.extend(_section_toml(key, section))
    return "\n".join(lines) + "\n"


def fields() -> list[tuple[str, str, Any, str]]:
    """Every setting as (dotted path, type, default, description), for docs and `show`."""
    return list(_fields(Recipe, ""))


def _fields(model: type[_Section], prefix: str) -> Iterable[tuple[str, str, Any, str]]:
    """The settings of a section, then the sections in it: the order that TOML asks for."""
    nested = []
    for name, info in model.model_fields.items():
        inner = _section_type(info.annotation)
        if inner is not None:
            nested.append((inner, f"{prefix}{name}."))
        else:
            default = "required" if info.is_required() else info.default
            kind = " ".join([_type_name(info.annotation), *_bounds(info.metadata)])
            yield f"{prefix}{name}", kind, default, info.description or ""
    for inner, path in nested:
        yield from _fields(inner, path)


def _section_type(annotation: Any) -> type[_Section] | None:
    options = getattr(annotation, "__args__", (annotation,))
    for option in options:
        if isinstance(option, type) and issubclass(option, _Section):
            return option
    return None


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner, *metadata = arguments
        limits = [limit for field in metadata for limit in _bounds(field.metadata)]
        return " ".join([_type_name(inner), *limits])
    if origin is Literal:
        return " | ".join(str(value) for value in arguments)
    if origin in (Union, UnionType):
        given = [_type_name(option) for option in arguments if option is not NoneType]
        return " | ".join([*given, "not set"])
    if origin is list:
        return f"list of {_type_name(arguments[0])}"
    return _TOML_NAMES[annotation if origin is None else origin]


def _bounds(metadata: Iterable[Any]) -> list[str]:
    return [
        f"{sign} {getattr(limit, name)}"
        for limit in metadata
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if hasattr(limit, name)
    ]


def _section_toml(path: str, section: _Section) -> list[str]:
    lines = ["", f"[{path}]"]
    nested = []
    for key in type(section).model_fields:
        value = getattr(section, key)
        if isinstance(value, _Section):
            nested.extend(_section_toml(f"{path}.{key}", value))
        elif value is not None:
            lines.append(f"{key} = {_toml(value)}")
    return lines + nested


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    # JSON's text, numbers and booleans are TOML's; DEL is the one character that
    # JSON leaves bare and TOML forbids.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _listed(overrides: Overrides) -> Iterable[str | tuple[str, Any]]:
    return overrides.items() if isinstance(overrides, Mapping) else overrides


def _parsed(override: str | tuple[str, Any]) -> tuple[str, str, Any]:
    """One override as it was written, its dotted path (empty if it has none), its value."""
    if isinstance(override, tuple):
        path, value = override
        return f"{path}={value}", path, value
    path, separator, text = override.partition("=")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    return override, path if separator else "", value


def _apply(settings: dict[str, Any], path: str, value: Any) -> str | None:
    keys = [key.strip() for key in path.split(".")]
    if not all(keys):
        return "expected section.key=value"
    target = settings
    for key in keys[:-1]:
        target = target.setdefault(key, {})
        if not isinstance(target, dict):
            return f"{key} is a value, not a section"
    target[keys[-1]] = value
    return None


def _fault(problem: Mapping[str, Any]) -> str:
    location = [str(part) for part in problem["loc"]]
    path = ".".join(location)
    if problem["type"] == "extra_forbidden":
        near = _near_spelling(location)
        return f"{path}: unknown key" + (f"; did you mean {near}?" if near else "")
    if problem["type"] == "missing":
        return f"{path}: required, but not given"
    if problem["type"] in ("model_type", "dict_type"):
        return f"{path}: expected a table of settings, got {problem['input']!r}"
    if problem["type"] == "value_error":
        return f"{path}: {problem['ctx']['error']}".removeprefix(": ")
    return f"{path}: {problem['msg'].replace('Input should', 'should')}, got {problem['input']!r}"


def _near_spelling(location: list[str]) -> str | None:
    known = [path for path, *_ in fields()]
    known += sorted({path.rpartition(".")[0] for path in known if "." in path})
    near = difflib.get_close_matches(".".join(location), known, n=1, cutoff=0.5)
    return near[0] if near else None
