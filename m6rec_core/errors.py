"""The error tree: every failure a user can cause or cure is an :class:`M6RecError` and reaches them as one line."""

from __future__ import annotations


class M6RecError(Exception):
    """A failure the user can act on. The command line prints it without a traceback and exits with code 2.

    The message is one line: what is wrong, where (file, row, field), and what to do about it.
    """


class ConfigError(M6RecError):
    """An option, a configuration file or a combination of settings is wrong."""


class DataError(M6RecError):
    """A behaviour log, a sample file or a table is wrong; the message names file, row and field."""


class RegistryError(M6RecError):
    """A plugin is missing, broken, duplicated or incompatible with this version of the hooks."""


class AssetError(M6RecError):
    """A backbone or data set could not be fetched, verified or unpacked."""


class PackError(M6RecError):
    """A task pack is damaged, or belongs to another backbone, plugin or hook version."""


class BackboneError(M6RecError):
    """A backbone cannot be loaded or has a structure this project does not support."""


class RunError(M6RecError):
    """A run cannot start, resume or write its output."""
