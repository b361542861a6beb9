"""From a plugin module to a `Task`: the typed facade through which the core calls one plugin's hooks."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pluggy

from m6rec_core import hookspecs
from m6rec_core.errors import M6RecError, RegistryError
from m6rec_core.registry.checks import check_hooks, checked_manifest, is_wrapper
from m6rec_core.registry.entries import TASKS, TaskEntry, choose, discover, guarded, one_line

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor, nn

    from m6rec_core.config import TaskConfig
    from m6rec_core.types import BackboneSpec, Generate, Prediction, Sample, Serialized, TaskManifest, TaskView

_WRAPPER = "wrapper "


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One loaded plugin with typed hooks. Each call reaches exactly this plugin, through the cross-task wrappers.

    An exception raised by the plugin keeps its type and traceback and gains a note naming hook, task and distribution.
    """

    manifest: TaskManifest
    distribution: str
    version: str
    module: ModuleType = field(repr=False)
    _manager: pluggy.PluginManager = field(repr=False)

    @property
    def name(self) -> str:
        """The task's name."""
        return self.manifest.task

    def __deepcopy__(self, memo: dict[int, object]) -> Task:
        """A task is immutable: copying a model that holds one shares it (modules cannot be copied anyway)."""
        return self

    def serialize_sample(self, sample: Sample, config: TaskConfig) -> Serialized:
        """Write `sample` as text. Raises RegistryError when the plugin returns anything but a `Serialized`."""
        from m6rec_core.types import Serialized as Expected

        result = self._call("serialize_sample", sample=sample, config=config)
        if not isinstance(result, Expected):
            raise self._wrong("serialize_sample", f"returned {type(result).__name__}, expected Serialized")
        return result

    def build_head(self, config: TaskConfig, backbone: BackboneSpec) -> nn.Module:
        """Build the trainable head of the task for `backbone`."""
        head: nn.Module = self._call("build_head", config=config, backbone=backbone)
        return head

    def compute_loss(self, head: nn.Module, view: TaskView) -> Tensor:
        """Return one loss per sample, [N]. Raises RegistryError for any other shape: a mean or a sum cannot slip in."""
        loss: Tensor = self._call("compute_loss", head=head, view=view)
        expected = (len(view.samples),)
        shape = tuple(getattr(loss, "shape", ("no tensor",)))
        if shape != expected:
            raise self._wrong("compute_loss", f"returned shape {shape}, expected {expected}: one loss per sample")
        return loss

    def decode(self, head: nn.Module, view: TaskView, generate: Generate) -> Sequence[Prediction]:
        """Return one prediction per sample in the order of `view.samples`; another count is a RegistryError."""
        predictions: Sequence[Prediction] = self._call("decode", head=head, view=view, generate=generate)
        if len(predictions) != len(view.samples):
            raise self._wrong("decode", f"returned {len(predictions)} predictions for {len(view.samples)} samples")
        return predictions

    def _call(self, hook: str, **arguments: object) -> Any:
        plugins = self._manager.list_name_plugin()
        others = [plugin for name, plugin in plugins if plugin is not self.module and not name.startswith(_WRAPPER)]
        caller = self._manager.subset_hook_caller(hook, remove_plugins=others)
        try:
            result = caller(**arguments)
        except M6RecError:
            raise
        except Exception as error:
            error.add_note(f"in hook {hook} of task {self.name} ({self.distribution} {self.version})")
            raise
        if result is None:
            raise self._wrong(hook, "returned None: is a `return` missing?")
        return result

    def _wrong(self, hook: str, what: str) -> RegistryError:
        return RegistryError(f"hook {hook} of task {self.name!r} ({self.distribution} {self.version}) {what}")


class TaskRegistry:
    """The tasks of one process: loads the plugins that are asked for and nothing else.

    `wrappers` are modules or objects whose hook implementations all are pluggy wrappers (`@hookimpl(wrapper=True)`);
    they run around every task's hooks. A plugin that fails to load leaves no trace and disturbs no other.
    """

    def __init__(self, wrappers: Sequence[object] = (), environment: Mapping[str, str] | None = None) -> None:
        """Start empty. `environment` replaces `os.environ` in tests."""
        self._environment = os.environ if environment is None else environment
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._tasks: dict[str, Task] = {}
        for number, wrapper in enumerate(wrappers):
            self._add_wrapper(wrapper, f"{_WRAPPER}{number}")

    @property
    def loaded(self) -> Mapping[str, Task]:
        """The tasks loaded so far, by name."""
        return dict(self._tasks)

    def load(self, name: str) -> Task:
        """Load the installed task `name` (once). Raises RegistryError that says what is wrong and how to cure it."""
        if name not in self._tasks:
            entries = discover(TASKS, self._environment)
            if self._environment.get("M6REC_STRICT") == "1":
                self._load_all(entries)
            if name not in self._tasks:
                self._load_entry(choose(TASKS, name, entries))
        return self._tasks[name]

    def add(self, module: ModuleType, distribution: str, version: str) -> Task:
        """Register a plugin module that is already imported. Raises RegistryError if it is no valid plugin."""
        where = f"{distribution} {version} (module {module.__name__})"
        manifest = checked_manifest(module, where)
        if manifest.task in self._tasks:
            other = self._tasks[manifest.task]
            raise RegistryError(f"task {manifest.task!r} comes from both {other.distribution} and {distribution}")
        check_hooks(module, where, self._manager)
        try:
            self._manager.register(module, name=manifest.task)
        except (pluggy.PluginValidationError, ValueError) as error:
            if self._manager.has_plugin(manifest.task):  # pluggy before 1.7 keeps a plugin that failed validation
                self._manager.unregister(name=manifest.task)
            raise RegistryError(f"plugin {where} cannot be registered: {one_line(error)}") from error
        task = Task(manifest, distribution, version, module, self._manager)
        self._tasks[manifest.task] = task
        return task

    def _load_entry(self, entry: TaskEntry) -> None:
        module = _import(entry)
        declared = getattr(getattr(module, "MANIFEST", None), "task", entry.name)
        if declared != entry.name:
            raise RegistryError(
                f"{entry.distribution} {entry.version} announces task {entry.name!r} but the MANIFEST in "
                f"{entry.module} says {declared!r}: make the entry-point name and the manifest agree"
            )
        self.add(module, entry.distribution, entry.version)

    def _load_all(self, entries: Sequence[TaskEntry]) -> None:
        for entry in entries:
            if entry.state == "not allowed" or entry.name in self._tasks:
                continue
            try:
                self._load_entry(choose(TASKS, entry.name, entries))
            except RegistryError as error:
                raise RegistryError(f"M6REC_STRICT=1 and an installed plugin is broken: {error}") from error

    def _add_wrapper(self, wrapper: object, name: str) -> None:
        if not is_wrapper(self._manager, wrapper):
            raise RegistryError(f"{wrapper!r} is no hook wrapper: mark every hook with @hookimpl(wrapper=True)")
        try:
            self._manager.register(wrapper, name=name)
        except pluggy.PluginValidationError as error:
            raise RegistryError(f"hook wrapper {wrapper!r} cannot be registered: {one_line(error)}") from error


def load_task(name: str, wrappers: Sequence[object] = ()) -> Task:
    """Load one installed task into a registry of its own. For several tasks that share wrappers use `TaskRegistry`."""
    return TaskRegistry(wrappers).load(name)


def task_from_module(module: ModuleType, wrappers: Sequence[object] = ()) -> Task:
    """Make a task of an imported plugin module, installed or not. Meant for tests and the conformance kit."""
    for entry in discover():
        if entry.module == module.__name__:
            return TaskRegistry(wrappers).add(module, entry.distribution, entry.version)
    return TaskRegistry(wrappers).add(module, module.__name__, "not installed")


def _import(entry: TaskEntry) -> ModuleType:
    if ":" in entry.module:
        raise RegistryError(
            f"{entry.distribution} {entry.version}: the entry point of task {entry.name!r} is {entry.module!r}, "
            "but a task plugin is a module; drop the part from ':' on"
        )
    module: ModuleType = guarded(lambda: importlib.import_module(entry.module), entry)
    return module
