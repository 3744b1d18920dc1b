"""Options of the commands that ask a language model, and what they stand for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from embedft.cli.options import gathered

if TYPE_CHECKING:
    from embedft.data.endpoint import Endpoint

OWN_VARIABLE, USUAL_VARIABLE = "EMBEDFT_API_KEY", "OPENAI_API_KEY"
OPTIONS = (
    click.option("--endpoint", help="Address of an OpenAI-compatible API: http://localhost:8000/v1."),
    click.option("--endpoint-model", help="Name of the model there."),
    click.option(
        "--api-key-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help=f"File with the key; else the variable {OWN_VARIABLE}, or {USUAL_VARIABLE} (by https, or to localhost).",
    ),
    click.option("--prompt", type=click.Path(path_type=Path, dir_okay=False), help="File with a prompt of your own."),
    click.option(
        "--cache",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File that keeps the answers, to go on after a break.  [default: OUTPUT.answers]",
    ),
    click.option("--workers", type=click.IntRange(1), default=8, show_default=True, help="Requests at once."),
    click.option("--temperature", type=click.FloatRange(0), default=0.7, show_default=True, help="Of the answers."),
    click.option("--max-tokens", type=click.IntRange(1), default=512, show_default=True, help="Of an answer."),
    click.option(
        "--timeout", type=click.FloatRange(0, min_open=True), default=120, show_default=True, help="Seconds a request."
    ),
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
    max_tokens: int
    timeout: float

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
            self.endpoint,
            self.endpoint_model,
            self._key(),
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            timeout=self.timeout,
            workers=self.workers,
        )
        return Endpoint(config, self.kept_beside(output))

    def kept_beside(self, output: Path) -> Path:
        """The file of answers.

        Raises:
            ConfigError: it would stand inside ``output``, which is replaced as a whole.
        """
        from embedft.errors import ConfigError

        if self.cache is not None and self.cache.absolute().is_relative_to(output.absolute()):
            raise ConfigError(f"--cache {self.cache}: stands inside the output.", hint="name a file outside of it.")
        named = output if output.name not in ("", "..") else output.resolve()
        return self.cache or named.with_name(f"{named.name}.answers")

    def prompt_or(self, usual: str) -> str:
        """The user's prompt, else ``usual``."""
        from embedft.data.written import read_prompt

        return read_prompt(self.prompt) if self.prompt else usual

    def _key(self) -> str | None:
        from embedft.errors import ConfigError

        if self.api_key_file is None:
            return os.environ.get(OWN_VARIABLE) or (os.environ.get(USUAL_VARIABLE) if self._private() else None) or None
        try:
            return self.api_key_file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.api_key_file}: cannot be read: {error}", hint="check the path.") from error

    def _private(self) -> bool:
        """Whether nobody on the way can read what is sent: a key that was set for others does not go in the clear."""
        address = urlsplit(self.endpoint or "")
        return address.scheme == "https" or address.hostname in ("localhost", "127.0.0.1", "::1")


asking_options = gathered("asking", Asking, OPTIONS)
