"""`compare`: runs beside each other, gate first."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from kerasft.bench.processes import folder_for_logs
from kerasft.compare import contenders as groups_of
from kerasft.compare import engines
from kerasft.compare.contenders import LAYOUT, Entrant, Group
from kerasft.compare.evaluations import MOST_EXAMPLES
from kerasft.compare.facts import facts_of, not_run
from kerasft.compare.gate import FIRST_LOSSES, Looked, gate
from kerasft.compare.probes import Wanted, probes_of
from kerasft.compare.result import Check, Comparison, Contender, RunFacts
from kerasft.compare.scored import Scored
from kerasft.console import Reporter, SilentReporter
from kerasft.engines import train_options
from kerasft.errors import KerasftError
from kerasft.recipe import to_toml
from kerasft.report.words import count
from kerasft.runs import RunFolder, is_run
from kerasft.versions import versions


def compare_runs(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    checked: bool = True,
    price_per_hour: float | None = None,
    jobs: int = 1,
    reporter: Reporter | None = None,
) -> Comparison:
    """Compare runs that are there, and write compare.json.

    Args:
        runs: run folders, of any engine; those that differ by their seed alone make one
            contender.
        out: folder of the comparison.
        checked: whether the parity gate is asked; without it nothing is ranked.
        price_per_hour: of the device.
        jobs: how many runs the gate probes at once.
        reporter: told what happens.

    Raises:
        KerasftError: a folder is no run or given twice, or there are no two contenders to
            compare.
    """
    places = [Path(path).resolve() for path in runs]
    if len(set(places)) < len(places):
        raise KerasftError("a run is given twice; each run takes part once")
    found = groups_of.grouped([Entrant.of(RunFolder.open(Path(path))) for path in runs])
    if len(found) < 2:
        raise KerasftError(
            f"the runs differ by their seeds alone: they are all {found[0].name}, and there is "
            "nothing to compare it with; give runs of two engines or settings"
        )
    title = " against ".join(group.name for group in found)
    commands = [_train_command(group) for group in found]
    return _compare(
        found,
        Path(out),
        title,
        commands,
        [],
        checked,
        price_per_hour,
        jobs,
        reporter or SilentReporter(),
    )


def compare_engines(
    plan: engines.Plan,
    *,
    checked: bool = True,
    price_per_hour: float | None = None,
    reporter: Reporter | None = None,
) -> Comparison:
    """Train a recipe with several engines, score the runs, and compare all that the folder has.

    What is finished in the folder is not done again, and what other calls left in it takes
    part: a comparison can be made engine by engine.

    Args:
        plan: what is trained and scored.
        checked, price_per_hour, reporter: as for `compare_runs`.

    Raises:
        KerasftError: the plan cannot be carried out, or no run came to an end.
    """
    reporter = reporter or SilentReporter()
    notes = engines.check(plan)
    folder_for_logs(plan.out)
    failed = engines.carry_out(plan, reporter)
    found = _groups_in(plan.out / "runs", failed)
    if not any(group.entrants for group in found):
        reasons = "; ".join(f"{name}, seed {seed}: {why}" for (name, seed), why in failed.items())
        raise KerasftError(f"no run could be compared: {reasons}")
    commands = [plan.command([group.name for group in found])]
    title = f"{Path(plan.recipe).stem}: {', '.join(group.name for group in found)}"
    result = _compare(
        found, plan.out, title, commands, notes, checked, price_per_hour, plan.jobs, reporter
    )
    if len(plan.engines) > 1 and sum(_has_numbers(each) for each in result.contenders) < 2:
        raise KerasftError(
            f"there is nothing to compare: {'; '.join(result.why_not)}. What there is stands in "
            f"{plan.out}, and the same command goes on"
        )
    return result


def _groups_in(folder: Path, failed: Mapping[tuple[str, int], str]) -> list[Group]:
    """The contenders of a comparison's folder, in the order of `ENGINES`."""
    found = []
    for name in engines.ENGINES:
        entrants, missing = {}, {}
        for path in sorted(folder.glob(f"{name}-seed-*")):
            if is_run(path):
                entrant = Entrant.of(RunFolder(path), name)
                entrants[entrant.seed] = entrant
        for (engine, seed), why in failed.items():
            if engine == name and seed not in entrants:
                missing[seed] = why
        if entrants or missing:
            found.append(Group(name, dict(sorted(entrants.items())), missing))
    return found


def _compare(
    found: Sequence[Group],
    out: Path,
    title: str,
    commands: Sequence[str],
    notes: Sequence[str],
    checked: bool,
    price_per_hour: float | None,
    jobs: int,
    reporter: Reporter,
) -> Comparison:
    reference = groups_of.reference_of(found)
    others = [group for group in found if group is not reference]
    checks = _gate(reference, others, out, jobs, reporter) if checked else []
    scored = Scored(found, reference)
    tests, examples = scored.compared([group.name for group in [reference, *others]])
    why_not = {group.name: _why_not(reference, group, checks, checked) for group in found}
    ranked = {name for name, reasons in why_not.items() if not reasons}
    if len(ranked) < 2:
        ranked = set()
        if not why_not[reference.name]:
            why_not[reference.name] = ["there is nothing that it may be ranked against"]
    made = [_contender(group, group.name in ranked, why_not[group.name], scored) for group in found]
    first = next(each.first for each in [reference, *others] if each.first is not None)
    result = Comparison(
        title=title,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        kerasft_version=versions().get("kerasft", ""),
        commands=tuple(commands),
        recipe_toml=to_toml(first.run.recipe()),
        differences=tuple(_differences(reference, others)),
        notes=(
            *notes,
            *scored.notes,
            *(line for group in found for line in groups_of.interrupted(group)),
        ),
        ranked=bool(ranked),
        why_not=tuple(
            f"{name}: {reason}" for name, reasons in why_not.items() for reason in reasons
        ),
        kind="layouts" if len(_layouts(found)) > 1 else "engines",
        reference=reference.name,
        contenders=tuple(made),
        gate=tuple(checks),
        tests=tuple(tests),
        examples=tuple(examples[:MOST_EXAMPLES]),
        differing_total=len(examples),
        base_scores=tuple(scored.base),
        price_per_hour=price_per_hour,
    )
    result.write(out)
    return result


def _gate(
    reference: Group, others: Sequence[Group], out: Path, jobs: int, reporter: Reporter
) -> list[Check]:
    """The checks of every contender against the reference, on the seeds that both finished."""
    wanted = [group for group in others if _finished_seeds(group) & _finished_seeds(reference)]
    if not wanted:
        return []
    folder_for_logs(out)
    runs = [
        (group.name, seed)
        for group in [reference, *wanted]
        for seed in sorted(_finished_seeds(group) & _finished_seeds(reference))
    ]
    entrants = {group.name: group.entrants for group in [reference, *wanted]}
    asked = [
        Wanted(
            run=entrants[name][seed].run,
            path=out / "probes" / f"{name}-seed-{seed}.safetensors",
            log=out / "logs" / f"probe-{name}-seed-{seed}.log",
        )
        for name, seed in runs
    ]
    with reporter.working(f"Probing {count(len(runs), 'run')}"):
        probes = probes_of(asked, jobs)
    looked: dict[str, dict[int, Looked]] = {}
    for (name, seed), probe in zip(runs, probes, strict=True):
        entrant = entrants[name][seed]
        looked.setdefault(name, {})[seed] = Looked(
            probe=probe,
            losses=_first_losses(entrant),
            engine=str(entrant.record.get("engine")),
            dropout=float(entrant.settings["lora.dropout"]),
        )
    return [
        check
        for group in wanted
        for check in gate(looked[reference.name], group.name, looked[group.name])
    ]


def _finished_seeds(group: Group) -> set[int]:
    return {seed for seed, entrant in group.entrants.items() if entrant.finished}


def _first_losses(entrant: Entrant) -> list[float]:
    lines = entrant.run.metrics()[:FIRST_LOSSES]
    return [math.nan if line["loss"] is None else line["loss"] for line in lines]


def _why_not(reference: Group, group: Group, checks: Sequence[Check], checked: bool) -> list[str]:
    """Why a contender may not be ranked; empty where it may."""
    reasons = groups_of.unfinished(group)
    if group is reference:
        return reasons
    reasons += groups_of.seed_differences(reference, group)
    if len(_layouts([reference, group])) > 1:
        reasons.append(
            "it trains another layout than the reference: a comparison of layouts is not ranked"
        )
    reasons += groups_of.setting_differences(reference, group)
    failed = [check.what for check in checks if check.contender == group.name and not check.passed]
    if failed:
        reasons.append(f"it did not pass the parity gate: {', '.join(failed)}")
    if not checked:
        reasons.append("the parity gate was left out (--no-gate)")
    return reasons


def _layouts(found: Sequence[Group]) -> set[str]:
    return {group.first.settings[LAYOUT] for group in found if group.first is not None}


def _differences(reference: Group, others: Sequence[Group]) -> list[str]:
    return [
        f"{group.name}: {line}"
        for group in others
        for line in (
            *groups_of.setting_differences(reference, group),
            *groups_of.version_differences(reference, group),
        )
    ]


def _contender(group: Group, ranked: bool, why_not: Sequence[str], scored: Scored) -> Contender:
    record = group.first.record if group.first is not None else {}
    facts: dict[int, RunFacts] = {
        seed: facts_of(entrant.run, scored.scores(group.name, seed))
        for seed, entrant in group.entrants.items()
    }
    facts |= {
        seed: not_run(f"{group.name}-seed-{seed}", seed, why) for seed, why in group.missing.items()
    }
    return Contender(
        name=group.name,
        engine=str(record.get("engine") or ""),
        backend=str(record.get("backend") or ""),
        layout=str(group.first.settings[LAYOUT]) if group.first is not None else "",
        device=group.first.device if group.first is not None else "",
        dtype=str(record.get("dtype") or ""),
        versions=dict(record.get("versions") or {}),
        trained_parameters=(record.get("parameters") or {}).get("trained"),
        runs=tuple(facts[seed] for seed in sorted(facts)),
        ranked=ranked,
        why_not=tuple(why_not),
    )


def _has_numbers(contender: Contender) -> bool:
    return any(run.steps for run in contender.runs)


def _train_command(group: Group) -> str:
    """The line that trains a contender's first run again, from the recipe of the report."""
    entrant = group.first
    assert entrant is not None
    options = train_options(str(entrant.record.get("engine")), str(entrant.record.get("backend")))
    words = ["kerasft train --recipe recipe.toml", *options, f"--set train.seed={entrant.seed}"]
    return " ".join(words)
