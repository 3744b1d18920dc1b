"""The command group, and the one place where errors become messages and exit statuses."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from embedft import __version__
from embedft.cli.augment import augment
from embedft.cli.classify import classify
from embedft.cli.compare import compare
from embedft.cli.data import data
from embedft.cli.demo import demo
from embedft.cli.encode import encode
from embedft.cli.evaluate import evaluate
from embedft.cli.index import index
from embedft.cli.mine import mine
from embedft.cli.pairs import pairs
from embedft.cli.plan import plan
from embedft.cli.report import report
from embedft.cli.search import search
from embedft.cli.train import train
from embedft.cli.tune import tune
from embedft.errors import EmbedftError

USER_ERROR, INTERRUPTED = 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="embedft")
@click.option("-q", "--quiet", is_flag=True, help="No notes on standard error: warnings, errors and progress alone.")
def cli(quiet: bool) -> None:
    """Fine-tune a bi-encoder on your documents, prove the gain, and take it to use.

    Results go to standard output, progress and logs to standard error. Every command takes --help.
    """
    # Libraries report what a user can act on as errors; their notes would drown ours.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    logger = logging.getLogger("embedft")
    # Of several training processes the first one speaks.
    first = os.environ.get("RANK", "0") == "0"
    logger.setLevel((logging.WARNING if quiet else logging.INFO) if first else logging.ERROR)
    logger.propagate = False
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)


data.add_command(pairs)
data.add_command(augment)
for command in (demo, data, plan, train, tune, evaluate, compare, report, mine, classify, encode, index, search):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0, 2 for a user's mistake, 130 for Ctrl-C."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What another encoding cannot hold, or a path that is no text, is shown by its number, as on standard error.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = cli.main(args=arguments, prog_name="embedft", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(USER_ERROR)
    except (click.Abort, KeyboardInterrupt):
        # It is ending: a second Ctrl-C would only tear down threads that are being joined.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    except EmbedftError as error:
        _fail(error.message, error.hint)
    except OSError as error:
        _fail_on_system(error)
    sys.exit(status if isinstance(status, int) else 0)


def _fail_on_system(error: OSError) -> NoReturn:
    """What the operating system refused, in a line; other OSErrors are faults of ours and keep their traceback."""
    from embedft.artifacts import is_disk_full

    if is_disk_full(error, Path()):
        _fail(f"the disk is full: {error}", "free some space, then run the command again.")
    if error.filename is not None and error.strerror:
        _fail(f"{error.filename}: {error.strerror}.", "check the path and its permissions.")
    raise error


def _fail(message: str, hint: str | None) -> NoReturn:
    click.echo(click.style("error: ", fg="red", bold=True) + message, err=True)
    if hint:
        click.echo(click.style("hint: ", fg="cyan") + hint, err=True)
    sys.exit(USER_ERROR)
