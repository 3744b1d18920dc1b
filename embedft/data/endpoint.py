"""Ask a language model behind an OpenAI-compatible endpoint: many requests at once, repeated, cached, resumable.

Every answer goes to a file as soon as it comes, under a hash of its request, so that work that broke off, or is done
again, asks for what is missing alone. The key for the endpoint is in no file.

Source of the protocol: OpenAI API reference, "Create chat completion" (POST /chat/completions), which vLLM, llama.cpp,
Ollama and others serve.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Any

import httpx2
from filelock import FileLock, Timeout

from embedft.artifacts import disk_errors
from embedft.errors import ArtifactError, EndpointError
from embedft.progress import progress

# Told to come again: timeouts, conflicts, too many requests, faults of the server that pass.
PASSING = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 529))
# Faults of one request; the others may do.
REFUSED = frozenset((400, 413, 422))
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
SHOWN = 300


@dataclass(frozen=True)
class EndpointConfig:
    """Where the model is and how it is asked.

    Attributes:
        url: of the API, without ``/chat/completions``: ``http://localhost:8000/v1``.
        model: name that the endpoint knows.
        key: sent as a bearer token; None sends none.
        temperature: of the sampling.
        max_tokens: longest answer.
        timeout: seconds that one request may take.
        retries: how often a request is repeated after a passing fault.
        workers: requests at once.
    """

    url: str
    model: str
    key: str | None = None
    temperature: float = 0.7
    max_tokens: int = 512
    timeout: float = 120.0
    retries: int = 6
    workers: int = 8

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise EndpointError(f"{self.url!r} is no address.", hint="write http://host:port/v1.")


class Endpoint:
    """A chat model and the file that keeps its answers.

    Args:
        config: see there.
        cache: file of answers, made if it is missing; one process at a time.

    Attributes:
        refused: requests that the endpoint would not answer, of the last `ask`.
    """

    def __init__(self, config: EndpointConfig, cache: Path) -> None:
        self.config = config
        self.cache = cache
        self.refused = 0

    def ask(
        self, prompts: Sequence[str], *, seeds: Sequence[int] | None = None, show_progress: bool = False
    ) -> list[str]:
        """The answers to ``prompts``, in order; ``""`` where the endpoint refused one.

        Args:
            prompts: each is one message of the user.
            seeds: of the sampling, one a prompt; equal prompts with different seeds are different requests.
            show_progress: on standard error.

        Raises:
            EndpointError: the endpoint cannot be reached, does not know the model or the key, refuses all requests, or
                answers with something else. What came before stays in the cache.
            ArtifactError: another process works with the same cache.
        """
        seeds = seeds or [0] * len(prompts)
        requests = [self._request(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
        keys = [self._hash(request) for request in requests]
        self.refused = 0
        self.cache.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(f"{self.cache}.lock", timeout=0), disk_errors(self.cache):
                known = _read_cache(self.cache)
                missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in known}
                if missing:
                    self._fetch(missing, known, show_progress=show_progress)
        except Timeout as error:
            raise ArtifactError(
                f"{self.cache}: another process writes to it.", hint="wait until it is done, or name another --cache."
            ) from error
        return [known.get(key, "") for key in keys]

    def _request(self, prompt: str, seed: int) -> dict[str, Any]:
        return {
            "model": self.config.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": self.config.temperature,
            "max_tokens": self.config.max_tokens,
            "seed": seed,
        }

    def _hash(self, request: dict[str, Any]) -> str:
        text = json.dumps([self.config.url, request], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _fetch(self, missing: dict[str, dict[str, Any]], known: dict[str, str], *, show_progress: bool) -> None:
        stop, writing = Event(), Lock()
        headers = {"Authorization": f"Bearer {self.config.key}"} if self.config.key else {}
        refusals: list[EndpointError] = []
        with (
            httpx2.Client(headers=headers, timeout=self.config.timeout) as client,
            self.cache.open("a", encoding="utf-8") as file,
            progress("answers", len(missing), "requests", enabled=show_progress) as advance,
            ThreadPoolExecutor(self.config.workers) as pool,
        ):

            def fetch(key: str, request: dict[str, Any]) -> None:
                answer = self._answer(client, request, stop)
                with writing:
                    known[key] = answer
                    file.write(json.dumps({"request": key, "answer": answer}) + "\n")
                    file.flush()

            running = [pool.submit(fetch, key, request) for key, request in missing.items()]
            try:
                for done in as_completed(running):
                    advance(1)
                    try:
                        done.result()
                    except _RefusedError as refusal:
                        refusals.append(refusal)
            finally:
                # After a fault or Ctrl-C nothing new is asked and no one waits out a pause; what is on its way is kept.
                stop.set()
                pool.shutdown(cancel_futures=True)
        self.refused = len(refusals)
        if len(refusals) == len(missing):
            raise refusals[0]

    def _answer(self, client: httpx2.Client, request: dict[str, Any], stop: Event) -> str:
        url = f"{self.config.url.rstrip('/')}/chat/completions"
        for attempt in range(self.config.retries + 1):
            if stop.is_set():
                raise EndpointError(f"{url}: was stopped.")
            wait = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * random.uniform(0.5, 1)
            try:
                response = client.post(url, json=request)
            except httpx2.TransportError as error:
                fault = EndpointError(
                    f"{url}: cannot be reached: {type(error).__name__}: {error}",
                    hint="check the address, and that the server runs; run the command again to go on.",
                )
            except httpx2.InvalidURL as error:
                raise EndpointError(f"{url}: is no address: {error}", hint="write http://host:port/v1.") from error
            else:
                if response.status_code == httpx2.codes.OK:
                    return _content(url, response)
                fault = _fault(url, response, self.config)
                if response.status_code not in PASSING:
                    raise fault
                wait = max(wait, _retry_after(response))
            if attempt < self.config.retries:
                stop.wait(wait)
        raise fault


class _RefusedError(EndpointError):
    """One request was refused for what it holds."""


def _fault(url: str, response: httpx2.Response, config: EndpointConfig) -> EndpointError:
    said = " ".join(response.text.split())[:SHOWN]
    if config.key:
        said = said.replace(config.key, "***")
    message = f"{url}: answered {response.status_code}: {said}"
    if response.status_code in REFUSED:
        return _RefusedError(message, hint="check the name of the model and the length of the prompts.")
    if response.status_code in (401, 403):
        return EndpointError(message, hint="set the key: EMBEDFT_API_KEY or --api-key-file.")
    if response.status_code == httpx2.codes.NOT_FOUND:
        return EndpointError(message, hint=f"check the address and that it serves the model {config.model!r}.")
    return EndpointError(message, hint="run the command again to go on where it stopped.")


def _content(url: str, response: httpx2.Response) -> str:
    try:
        content = response.json()["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError) as error:
        raise EndpointError(
            f"{url}: gave no chat completion: {response.text[:SHOWN]!r}", hint="name an OpenAI-compatible endpoint."
        ) from error
    # A refusal, or an answer of tool calls alone, has null there.
    return content if isinstance(content, str) else ""


def _retry_after(response: httpx2.Response) -> float:
    try:
        return min(float(response.headers.get("retry-after", 0)), LONGEST_WAIT)
    except ValueError:
        return 0.0


def _read_cache(path: Path) -> dict[str, str]:
    """Request hash -> answer; a last line that broke off is cut away."""
    if not path.exists():
        return {}
    known: dict[str, str] = {}
    raw = path.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            row = json.loads(line)
            known[row["request"]] = row["answer"]
        except (ValueError, LookupError, TypeError) as error:
            raise ArtifactError(
                f"{path}:{number}: is no answer of an endpoint: {line[:80]!r}",
                hint="name another --cache; this file is left as it is.",
            ) from error
    if len(whole) < len(raw):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return known
