"""From defaults, a file and options to one resolved `RunConfig`; every unknown key is an error with near names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from m6rec_core.config import Domain, RunConfig, TaskConfig, merge
from m6rec_core.errors import ConfigError
from m6rec_core.types import TaskManifest

Tree = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)


def read_config(path: Path) -> Tree:
    """Read a YAML file of settings. Raises ConfigError naming the file when it is no mapping."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path}: a configuration is a mapping of settings, this file holds a {type(content).__name__}"
        )
    return content


def parse_assignments(assignments: Sequence[str]) -> Tree:
    """Turn `a.b=c` options into a tree; values are read as YAML (numbers, true, null, lists)."""
    tree: Tree = {}
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"--set {assignment!r}: write it as name=value, for example --set training.lr=0.001")
        try:
            value = yaml.safe_load(text) if text else ""
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {assignment!r}: the value is not valid YAML; quote it") from error
        put(tree, key.strip(), _number(value))
    return tree


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as text; users mean a number."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def put(tree: Tree, dotted: str, value: Any) -> None:
    """Set a dotted name in a tree, making the branches it needs."""
    *branches, leaf = dotted.split(".")
    for branch in branches:
        tree = tree.setdefault(branch, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"setting {dotted!r}: {branch!r} already has a value and cannot have parts")
    tree[leaf] = value


def resolve(manifest: TaskManifest, layers: Sequence[Mapping[str, Any]], domain: Domain) -> RunConfig:
    """The resolved settings of a run: the task's quick settings, then each layer over the ones before.

    `domain` is the data set's, used unless a layer names one. Raises ConfigError naming the setting and near names.
    """
    tree: Tree = {}
    for dotted, value in manifest.quick.items():
        put(tree, dotted, value)
    for layer in layers:
        tree = merge(tree, layer)
    if tree.get("shots") == "all":
        tree["shots"] = None
    settings = tree.pop("settings", None) or {}
    if not isinstance(settings, Mapping):
        raise ConfigError(f"setting 'settings' is {settings!r}: it holds the task's own settings by name")
    settings = dict(settings)
    settings["domain"] = _domain(settings.get("domain"), domain)
    tree["settings"] = _validated(manifest.config, settings, "settings.")
    return _validated(RunConfig, tree, "")


def _domain(asked: object, found: Domain) -> Domain:
    if asked is None:
        return found
    if isinstance(asked, str):
        from m6rec_core.text.domains import load_domain

        return load_domain(asked)
    return _validated(Domain, asked, "settings.domain.")


def _validated(model: type[Model], tree: object, prefix: str) -> Model:
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        field = (prefix + ".".join(str(part) for part in first["loc"])).rstrip(".")
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"unknown setting {field!r}{_near(model, first['loc'])}") from error
        raise ConfigError(f"setting {field!r} is {first['input']!r}: {first['msg']}") from error


def _near(model: type[BaseModel], place: Sequence[int | str]) -> str:
    for part in place[:-1]:
        inner = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return ""
        model = inner
    near = difflib.get_close_matches(str(place[-1]), list(model.model_fields), 2)
    known = ", ".join(sorted(model.model_fields))
    return f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else f" (there are: {known})"


def to_yaml(config: RunConfig) -> str:
    """The resolved settings as YAML, readable by `read_config`."""
    return str(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def task_settings(config: RunConfig) -> TaskConfig:
    """The task's own settings of a run."""
    return config.settings
