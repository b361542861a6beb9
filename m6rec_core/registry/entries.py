"""Installed entry points, listed from package metadata without importing anything, and loaded one by one.

Environment: `M6REC_PLUGINS` is a comma-separated allow-list of distributions or entry names (m6rec-core itself is
always allowed). `M6REC_STRICT=1` makes any broken installed plugin an error for all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from m6rec_core import __version__
from m6rec_core.errors import RegistryError

CORE = "m6rec-core"
TASKS = "m6rec.tasks"
OFFICIAL_TASKS = ("ctr", "retrieval", "zeroshot", "explanation", "product-design", "query-generation", "conversation")
GROUP_NOUNS = {
    TASKS: "task",
    "m6rec.baselines": "baseline",
    "m6rec.retrievers": "retriever",
    "m6rec.backbones": "backbone",
    "m6rec.commands": "command",
    "m6rec.domains": "domain",
    "m6rec.datasets": "data set",
    "m6rec.image_pipelines": "image pipeline",
}

State = Literal["ready", "duplicate", "not allowed", "incompatible"]


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """One installed entry point, read from package metadata alone. `reason` says why `state` is not "ready"."""

    name: str
    module: str
    distribution: str
    version: str
    state: State
    reason: str = ""


def discover(group: str = TASKS, environment: Mapping[str, str] | None = None) -> tuple[TaskEntry, ...]:
    """List the installed entry points of `group`, sorted by name, without importing any of them."""
    environment = os.environ if environment is None else environment
    allowed = _allow_list(environment)
    found = sorted(entry_points(group=group), key=lambda point: (point.name, _distribution(point)))
    providers: dict[str, list[str]] = {}
    for point in found:
        if _is_allowed(point, allowed):
            providers.setdefault(point.name, []).append(_distribution(point))
    entries = []
    for point in found:
        state, reason = _state(point, _is_allowed(point, allowed), providers.get(point.name, []))
        version = point.dist.version if point.dist else "unknown"
        entries.append(TaskEntry(point.name, point.value, _distribution(point), version, state, reason))
    return tuple(entries)


def load_entry(group: str, name: str, environment: Mapping[str, str] | None = None) -> object:
    """Import what the entry point `name` of `group` names ("module:attribute" or "module").

    Raises RegistryError for a missing, duplicate, refused or incompatible entry, or one that fails to import.
    """
    environment = os.environ if environment is None else environment
    entries = discover(group, environment)
    if environment.get("M6REC_STRICT") == "1":
        for entry in entries:
            if entry.state != "not allowed":
                _import_value(choose(group, entry.name, entries))
    return _import_value(choose(group, name, entries))


def one_line(error: BaseException) -> str:
    """The exception as "Type: message" on a single line of at most 300 characters."""
    message = " ".join(str(error).split())
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."


def near(name: str, known: Iterable[str]) -> str:
    """The known name closest to `name`, or "" where none is close."""
    matches = get_close_matches(name, list(known), n=1)
    return matches[0] if matches else ""


def choose(group: str, name: str, entries: Sequence[TaskEntry]) -> TaskEntry:
    """The one entry called `name` that may be loaded, or a RegistryError with the reason and the cure."""
    named = [entry for entry in entries if entry.name == name]
    for entry in named:
        if entry.state == "ready":
            return entry
    if not named:
        raise RegistryError(_missing(group, name, entries))
    worst = next((entry for entry in named if entry.state != "not allowed"), named[0])
    where = f"{_noun(group)} {name!r} of {worst.distribution} {worst.version}"
    raise RegistryError(f"{where} is {worst.state}: {worst.reason}")


def _missing(group: str, name: str, entries: Sequence[TaskEntry]) -> str:
    noun = _noun(group)
    installed = sorted({entry.name for entry in entries})
    if group == TASKS and name in OFFICIAL_TASKS:
        return f"task {name!r} is not installed: run `pip install m6rec-plugin-{name}`"
    close = near(name, installed)
    if close:
        return f"no {noun} {name!r} is installed; did you mean {close!r}?"
    close = near(name, OFFICIAL_TASKS) if group == TASKS else ""
    if close:
        return f"no task {name!r} is known; did you mean {close!r}? Install it with `pip install m6rec-plugin-{close}`"
    listed = ", ".join(installed) or f"none; a plugin brings one, for example `pip install {_example(group)}`"
    return f"no {noun} {name!r} is installed; installed: {listed}"


def _example(group: str) -> str:
    return "m6rec-plugin-baselines" if group in ("m6rec.baselines", "m6rec.retrievers") else "m6rec-plugin-ctr"


def _noun(group: str) -> str:
    return GROUP_NOUNS.get(group, f"entry of {group}")


def _state(point: EntryPoint, allowed: bool, providers: Sequence[str]) -> tuple[State, str]:
    if not allowed:
        return "not allowed", f"M6REC_PLUGINS names neither {point.name} nor {_distribution(point)}; add one of them"
    if len(providers) > 1:
        names = " and ".join(providers)
        return "duplicate", f"provided by {names}; uninstall one or name the distributions you want in M6REC_PLUGINS"
    reason = _incompatible(point)
    return ("incompatible", reason) if reason else ("ready", "")


def _incompatible(point: EntryPoint) -> str:
    """Why the distribution's own requirement on m6rec-core excludes the installed core, or ""."""
    if point.dist is None or _canonical(point.dist.name) == CORE:
        return ""
    for text in point.dist.requires or ():
        if not _canonical(text).startswith(CORE):  # parsing only our own requirement keeps listing fast
            continue
        from packaging.requirements import InvalidRequirement, Requirement

        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            return f"its requirement {text!r} cannot be read; reinstall it"
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if (
            _canonical(requirement.name) == CORE
            and applies
            and not requirement.specifier.contains(__version__, prereleases=True)
        ):
            return f"it needs {requirement}, installed is {CORE} {__version__}; upgrade or downgrade one of them"
    return ""


def _allow_list(environment: Mapping[str, str]) -> frozenset[str] | None:
    value = environment.get("M6REC_PLUGINS", "").strip()
    return frozenset(_canonical(part.strip()) for part in value.split(",") if part.strip()) if value else None


def _is_allowed(point: EntryPoint, allowed: frozenset[str] | None) -> bool:
    distribution = _canonical(_distribution(point))
    return allowed is None or distribution == CORE or distribution in allowed or _canonical(point.name) in allowed


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "unknown distribution"


def guarded(load: Callable[[], Any], entry: TaskEntry) -> Any:
    """What `load` returns; whatever it raises becomes a one-line RegistryError that names distribution and module."""
    try:
        return load()
    except (Exception, SystemExit) as error:  # whatever a stranger's module does while importing stays its own
        raise RegistryError(
            f"{entry.distribution} {entry.version} is broken: importing {entry.module} failed with {one_line(error)}"
        ) from error


def _import_value(entry: TaskEntry) -> object:
    value: object = guarded(EntryPoint(entry.name, entry.module, "").load, entry)
    return value
