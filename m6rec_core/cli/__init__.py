"""The command `m6rec`: a table of commands, each imported when it is called, and one place where failures are told."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from m6rec_core import __version__
from m6rec_core.cli.failures import tell
from m6rec_core.cli.groups import LazyGroup

COMMANDS = {
    "run": ("m6rec_core.cli.run:run", "Tune a backbone on a task and compare it with the baselines."),
    "predict": ("m6rec_core.cli.predict:predict", "Score samples with a tuned task pack."),
    "evaluate": ("m6rec_core.cli.predict:evaluate", "Compute a task's metrics for a task pack or a predictions file."),
    "rank": ("m6rec_core.cli.rank:rank", "Rank the candidates of requests with a tuned task pack."),
    "tasks": ("m6rec_core.cli.tasks:tasks", "List the installed task plugins without importing them."),
    "explain-sample": ("m6rec_core.cli.explain:explain_sample", "Show one sample exactly as the model sees it."),
    "data": ("m6rec_core.cli.data:data", "Prepare and check behaviour logs."),
    "bench": ("m6rec_core.cli.bench:bench", "Repeat comparisons of the paper: tables and pictures."),
    "assets": ("m6rec_core.cli.assets:assets", "List and fetch the known backbones and data sets."),
}


@click.group(cls=LazyGroup, table=COMMANDS, invoke_without_command=True)
@click.version_option(__version__, prog_name="m6rec")
@click.pass_context
def commands(context: click.Context) -> None:
    """Recommendation tasks as plugins over one frozen language model."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `m6rec` with `arguments` (default: the process's) and exit.

    Exit codes: 0 success, 2 anything the user can cure (one line on stderr), 1 internal error (one line and a file with
    the traceback), 130 interrupted. When the reader of standard output goes away it ends quietly with 1.
    """
    try:
        code = commands.main(args=arguments, prog_name="m6rec", standalone_mode=False)
        sys.stdout.flush()  # a reader that went away shows here and not in the interpreter's own shutdown
    except (Exception, KeyboardInterrupt) as error:
        code = tell(error)
    sys.exit(code if isinstance(code, int) else 0)
