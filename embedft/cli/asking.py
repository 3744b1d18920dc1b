"""Options of the commands that ask a language model, and what they stand for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from embedft.cli.options import gathered

if TYPE_CHECKING:
    from embedft.data.endpoint import Endpoint

KEY_VARIABLES = ("EMBEDFT_API_KEY", "OPENAI_API_KEY")
OPTIONS = (
    click.option("--endpoint", help="Address of an OpenAI-compatible API: http://localhost:8000/v1."),
    click.option("--endpoint-model", help="Name of the model there."),
    click.option(
        "--api-key-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help=f"File with the key; else the variable {' or '.join(KEY_VARIABLES)}, if set.",
    ),
    click.option("--prompt", type=click.Path(path_type=Path, dir_okay=False), help="File with a prompt of your own."),
    click.option(
        "--cache",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File that keeps the answers, to go on after a break.  [default: OUTPUT.answers.jsonl]",
    ),
    click.option("--workers", type=click.IntRange(1), default=8, show_default=True, help="Requests at once."),
    click.option("--temperature", type=click.FloatRange(0), default=0.7, show_default=True, help="Of the answers."),
)


@dataclass(frozen=True)
class Asking:
    """The values of `asking_options`."""

    endpoint: str | None
    endpoint_model: str | None
    api_key_file: Path | None
    prompt: Path | None
    cache: Path | None
    workers: int
    temperature: float

    def open(self, output: Path) -> Endpoint:
        """The endpoint; answers are kept beside ``output``.

        Raises:
            ConfigError: the address or the name of the model is missing, or the key cannot be read.
        """
        from embedft.data.endpoint import Endpoint, EndpointConfig
        from embedft.errors import ConfigError

        if not self.endpoint or not self.endpoint_model:
            raise ConfigError(
                "a language model is asked for, but not where it is.",
                hint="give --endpoint http://host:port/v1 and --endpoint-model NAME.",
            )
        config = EndpointConfig(
            self.endpoint, self.endpoint_model, self._key(), temperature=self.temperature, workers=self.workers
        )
        return Endpoint(config, self.cache or output.with_name(f"{output.name}.answers.jsonl"))

    def prompt_or(self, usual: str) -> str:
        """The user's prompt, else ``usual``."""
        from embedft.data.written import read_prompt

        return read_prompt(self.prompt) if self.prompt else usual

    def _key(self) -> str | None:
        from embedft.errors import ConfigError

        if self.api_key_file is None:
            return next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), None)
        try:
            key = self.api_key_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.api_key_file}: cannot be read: {error}", hint="check the path.") from error
        # A header takes visible ASCII alone; the message must not show the key.
        if not key or not key.isascii() or not key.isprintable():
            raise ConfigError(f"{self.api_key_file}: holds no key.", hint="write the key there, in one line.")
        return key


asking_options = gathered("asking", Asking, OPTIONS)
