"""From installed packages to tasks: a plugin is listed without being imported, loaded alone, and called alone.

A distribution announces a task by an entry point of group `m6rec.tasks` whose value is the plugin *module*.
Pluggy calls the hooks; its own entry-point loader is not used, because it imports everything, skips duplicate names
silently and lets one broken import take the host down.
"""

from m6rec_core.registry.checks import HOOKS
from m6rec_core.registry.entries import (
    CORE,
    OFFICIAL_TASKS,
    TASKS,
    TaskEntry,
    discover,
    load_entry,
    near,
    one_line,
)
from m6rec_core.registry.task import Task, TaskRegistry, load_task, task_from_module

__all__ = [
    "CORE",
    "HOOKS",
    "OFFICIAL_TASKS",
    "TASKS",
    "Task",
    "TaskEntry",
    "TaskRegistry",
    "discover",
    "load_entry",
    "load_task",
    "near",
    "one_line",
    "task_from_module",
]
