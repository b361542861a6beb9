"""What must be true of a plugin module before its hooks are called: the manifest's and the hooks' own promises.

Pluggy would accept most of these mistakes and break on them at call time, or silently call the wrong function.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from m6rec_core import __version__, hookspecs
from m6rec_core.errors import RegistryError
from m6rec_core.registry.entries import CORE, near

if TYPE_CHECKING:
    from types import ModuleType

    import pluggy

    from m6rec_core.types import Prediction, Sample, TaskManifest

HOOKS = ("serialize_sample", "build_head", "compute_loss", "decode")


def checked_manifest(module: ModuleType, where: str) -> TaskManifest:
    """The module's MANIFEST, or a RegistryError. `where` names distribution, version and module in the message."""
    from m6rec_core.config import TaskConfig
    from m6rec_core.types import Prediction, Sample, TaskManifest

    manifest = getattr(module, "MANIFEST", None)
    if not isinstance(manifest, TaskManifest):
        raise RegistryError(f"plugin {where} has no MANIFEST of type m6rec_core.types.TaskManifest")
    low, high = manifest.hook_api
    if not low <= hookspecs.HOOK_API <= high:
        cure = f"upgrade {CORE}" if low > hookspecs.HOOK_API else "upgrade the plugin"
        raise RegistryError(
            f"plugin {where} works with hook API {low} to {high}, {CORE} {__version__} has {hookspecs.HOOK_API}: {cure}"
        )
    for name, base in (("sample", Sample), ("prediction", Prediction), ("config", TaskConfig)):
        model = getattr(manifest, name)
        if not (isinstance(model, type) and issubclass(model, base)):
            raise RegistryError(f"plugin {where}: MANIFEST.{name} must be a subclass of {base.__name__}, got {model!r}")
    _check_field(where, "label_field", manifest.label_field, manifest.sample)
    _check_field(where, "score_field", manifest.score_field, manifest.prediction)
    for name, value in manifest.variants.items():
        _check_field(where, f"variants[{name!r}]", value, manifest.prediction)
    return manifest


def _check_field(where: str, name: str, value: str, model: type[Sample] | type[Prediction]) -> None:
    if value and value not in model.model_fields:
        raise RegistryError(
            f"plugin {where}: MANIFEST.{name} is {value!r} but {model.__name__} has no such field "
            f"(fields: {', '.join(model.model_fields)}); name one of them, or '' if the task has none"
        )


def check_hooks(module: ModuleType, where: str, manager: pluggy.PluginManager) -> None:
    """Refuse what pluggy would accept and break on later: missing hooks, unknown ones, unusable arguments."""
    implemented: dict[str, str] = {}
    for attribute, options in _implementations(manager, module):
        hook = options.get("specname") or attribute
        if hook not in HOOKS:
            close = near(hook, HOOKS)
            hint = f"did you mean {close!r}?" if close else f"the hooks are {', '.join(HOOKS)}"
            raise RegistryError(f"plugin {where} implements an unknown hook {hook!r}; {hint}")
        if hook in implemented:
            raise RegistryError(f"plugin {where} implements {hook} twice: {implemented[hook]} and {attribute}")
        if options.get("wrapper") or options.get("hookwrapper"):
            raise RegistryError(f"plugin {where}: {attribute} is a wrapper; a task implements the hook itself")
        _check_arguments(getattr(module, attribute), hook, where)
        implemented[hook] = attribute
    for hook in HOOKS:
        if hook not in implemented:
            forgotten = callable(getattr(module, hook, None))
            hint = f"decorate {hook} with @hookimpl" if forgotten else "see docs/hooks.md for its signature"
            raise RegistryError(f"plugin {where} does not implement hook {hook!r}; {hint}")


def _check_arguments(function: Callable[..., object], hook: str, where: str) -> None:
    known = list(inspect.signature(getattr(hookspecs, hook)).parameters)
    for parameter in inspect.signature(function).parameters.values():
        problem = ""
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            problem = f"is {parameter.kind.description}, which pluggy would not pass"
        elif parameter.default is not parameter.empty:
            problem = "has a default, so pluggy would never pass it"
        elif parameter.name not in known:
            close = near(parameter.name, known)
            problem = "is unknown" + (f"; did you mean {close!r}?" if close else "")
        if problem:
            raise RegistryError(
                f"plugin {where}: argument {parameter.name!r} of hook {hook} {problem} "
                f"(write {hook}({', '.join(known)}))"
            )


def _implementations(manager: pluggy.PluginManager, plugin: object) -> list[tuple[str, Mapping[str, Any]]]:
    found: list[tuple[str, Mapping[str, Any]]] = []
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is not None:
            found.append((attribute, dict(options)))
    return found


def is_wrapper(manager: pluggy.PluginManager, plugin: object) -> bool:
    """Whether `plugin` implements hooks and all of them are wrappers: anything else could replace a task's answer."""
    options = [options for _, options in _implementations(manager, plugin)]
    return bool(options) and all(option.get("wrapper") or option.get("hookwrapper") for option in options)
