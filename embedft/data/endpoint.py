"""Ask a language model behind an OpenAI-compatible endpoint: many requests at once, repeated, cached, resumable.

Every answer goes to a file as soon as it comes (`embedft.data.answers`), so that work that broke off, or is done again,
asks for what is missing alone. The key for the endpoint is in no file and no message.

Source of the protocol: OpenAI API reference, "Create chat completion" (POST /chat/completions), which vLLM, llama.cpp,
Ollama and others serve.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

import httpx2

from embedft.data.answers import Answer, Answers, kept_answers, request_key
from embedft.errors import EndpointError
from embedft.progress import progress

logger = logging.getLogger("embedft")
Request = dict[str, Any]

# Told to come again: timeouts, conflicts, too many requests, faults of the server that pass.
PASSING = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 529))
# Faults of one request; the others may do.
REFUSED = frozenset((400, 413, 422))
# So many refusals and no answer: what is wrong concerns every request.
HOPELESS = 20
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
# A pause from which on its reason is told; and how long requests on their way are waited for after a fault.
TOLD, GRACE = 10.0, 10.0
SHOWN = 300
# What a reasoning model thinks before it answers.
THOUGHT = re.compile(r"^\s*<think>.*?(</think>|\Z)", re.S)


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
    key: str | None = field(default=None, repr=False)
    temperature: float = 0.7
    max_tokens: int = 512
    timeout: float = 120.0
    retries: int = 6
    workers: int = 8

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise EndpointError(f"{self.url!r} is no address.", hint="write http://host:port/v1.")
        object.__setattr__(self, "url", self.url.rstrip("/"))
        if self.key is not None:
            object.__setattr__(self, "key", self.key.strip())
            # A header takes visible ASCII alone. The message must not show it.
            if not self.key or not self.key.isascii() or not self.key.isprintable():
                raise EndpointError("the key for the endpoint is empty or holds odd characters.", hint="mend the key.")


class Endpoint:
    """A chat model and the file that keeps its answers.

    Args:
        config: see there.
        cache: file of answers, made if it is missing; one process at a time.

    Attributes:
        refused, empty, cut: requests of the last `ask` that the endpoint would not answer, answered with nothing, or
            whose answer reached ``max_tokens``.
    """

    def __init__(self, config: EndpointConfig, cache: Path) -> None:
        self.config = config
        self.cache = cache
        self.refused = self.empty = self.cut = 0

    def ask(
        self, prompts: Sequence[str], *, seeds: Sequence[int] | None = None, show_progress: bool = False
    ) -> list[Answer]:
        """The answers to ``prompts``, in order; without text where the endpoint refused one or gave none.

        Args:
            prompts: each is one message of the user.
            seeds: of the sampling, one a prompt; equal prompts with different seeds are different requests.
            show_progress: on standard error.

        Raises:
            EndpointError: the endpoint cannot be reached, does not know the model or the key, refuses all requests, or
                answers with something else. What came before stays in the cache.
            ArtifactError: another process works with the same cache, or it is something else.
        """
        seeds = seeds or [0] * len(prompts)
        requests = [self._request(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
        keys = [request_key([self.config.url, request]) for request in requests]
        self.refused = self.empty = self.cut = 0
        with kept_answers(self.cache) as answers:
            missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in answers.known}
            if missing:
                self._fetch(missing, answers, any_known=len(missing) < len(set(keys)), show_progress=show_progress)
            self.cut = sum(not answers.known[key].whole for key in set(keys) if key in answers.known)
            return [answers.known.get(key, Answer("")) for key in keys]

    def said(self) -> str:
        """What is to be told of the last `ask`; ``""`` if all went well."""
        counts = {"refused": self.refused, "empty": self.empty, "cut off at the longest answer": self.cut}
        return ", ".join(f"{count} answers {what}" for what, count in counts.items() if count)

    def _request(self, prompt: str, seed: int) -> dict[str, Any]:
        return {
            "model": self.config.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": self.config.temperature,
            "max_tokens": self.config.max_tokens,
            "seed": seed,
        }

    def _fetch(
        self, missing: dict[str, dict[str, Any]], answers: Answers, *, any_known: bool, show_progress: bool
    ) -> None:
        stop = Event()
        headers = {"Authorization": f"Bearer {self.config.key}"} if self.config.key else {}
        with (
            httpx2.Client(headers=headers, timeout=self.config.timeout) as client,
            progress("answers", len(missing), "requests", enabled=show_progress) as advance,
        ):
            crew = _Crew(lambda request: self._answer(client, request, stop), missing, self.config.workers, stop)
            answered = 0
            try:
                for key, answer in crew.results(len(missing)):
                    if isinstance(answer, Answer):
                        answered += 1
                        self._keep(key, answer, answers)
                        advance(1)
                    elif not isinstance(answer, _RefusedError):
                        raise answer
                    else:
                        self.refused += 1
                        if not answered and not any_known and self.refused >= min(HOPELESS, len(missing)):
                            raise answer
            except Exception:
                # What is on its way was paid for. After Ctrl-C nobody waits for it.
                for key, answer in crew.rest(GRACE):
                    if isinstance(answer, Answer):
                        self._keep(key, answer, answers)
                raise
            finally:
                stop.set()

    def _keep(self, key: str, answer: Answer, answers: Answers) -> None:
        if answer.text:
            answers.put(key, answer)
        else:
            # Not kept: another time it is asked for again.
            self.empty += 1

    def _answer(self, client: httpx2.Client, request: dict[str, Any], stop: Event) -> Answer:
        url = f"{self.config.url}/chat/completions"
        for attempt in range(self.config.retries + 1):
            if stop.is_set():
                raise EndpointError(f"{url}: was stopped.")
            wait = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * random.uniform(0.5, 1)
            try:
                response = client.post(url, json=request)
            except httpx2.RequestError as error:
                fault = EndpointError(
                    f"{url}: cannot be reached: {type(error).__name__}: {self._shown(str(error))}",
                    hint="check the address, and that the server runs; run the command again to go on.",
                )
            except httpx2.InvalidURL as error:
                raise EndpointError(f"{url}: is no address: {error}", hint="write http://host:port/v1.") from error
            else:
                if response.status_code == httpx2.codes.OK:
                    return self._content(url, response)
                fault = self._fault(url, response)
                if response.status_code not in PASSING:
                    raise fault
                wait = max(wait, _retry_after(response))
            if attempt < self.config.retries:
                if wait >= TOLD:
                    logger.warning("%s; waiting %.0f s", fault.message, wait)
                stop.wait(wait)
        raise fault

    def _shown(self, text: str) -> str:
        """What may be shown of an answer: without the key, and not all of it."""
        text = " ".join(text.split())
        return (text.replace(self.config.key, "***") if self.config.key else text)[:SHOWN]

    def _fault(self, url: str, response: httpx2.Response) -> EndpointError:
        message = f"{url}: answered {response.status_code}: {self._shown(response.text)}"
        if response.status_code in REFUSED:
            return _RefusedError(message, hint="check the name of the model and the length of the prompts.")
        if response.status_code in (401, 403):
            return EndpointError(message, hint="set the key: EMBEDFT_API_KEY or --api-key-file.")
        if response.status_code == httpx2.codes.NOT_FOUND:
            return EndpointError(message, hint=f"check the address and that it serves the model {self.config.model!r}.")
        return EndpointError(message, hint="run the command again to go on where it stopped.")

    def _content(self, url: str, response: httpx2.Response) -> Answer:
        try:
            choice = response.json()["choices"][0]
            content = choice["message"]["content"]
        except (ValueError, LookupError, TypeError) as error:
            raise EndpointError(
                f"{url}: gave no chat completion: {self._shown(response.text)}",
                hint="name an OpenAI-compatible endpoint.",
            ) from error
        # A refusal, or an answer of tool calls alone, has null there.
        text = THOUGHT.sub("", content).strip() if isinstance(content, str) else ""
        return Answer(text, choice.get("finish_reason") != "length")


class _Crew:
    """Threads that work off requests. They are daemons: a request that hangs keeps no process from ending."""

    def __init__(
        self, work: Callable[[Request], Answer], requests: Mapping[str, Request], count: int, stop: Event
    ) -> None:
        self._work, self._stop = work, stop
        self._open: SimpleQueue[tuple[str, Request]] = SimpleQueue()
        self._done: SimpleQueue[tuple[str, Answer | Exception]] = SimpleQueue()
        for item in requests.items():
            self._open.put(item)
        self._threads = [Thread(target=self._run, daemon=True) for _ in range(min(count, len(requests)))]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                key, request = self._open.get_nowait()
            except Empty:
                return
            try:
                self._done.put((key, self._work(request)))
            except Exception as error:  # who waits for the results raises it
                self._done.put((key, error))

    def results(self, count: int) -> Iterator[tuple[str, Answer | Exception]]:
        """The next ``count`` results as they come."""
        for _ in range(count):
            yield self._done.get()

    def rest(self, seconds: float) -> Iterator[tuple[str, Answer | Exception]]:
        """Take on nothing new, and give what still comes within ``seconds``."""
        self._stop.set()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))
        while not self._done.empty():
            yield self._done.get()


class _RefusedError(EndpointError):
    """One request was refused for what it holds."""


def _retry_after(response: httpx2.Response) -> float:
    try:
        return min(float(response.headers.get("retry-after", 0)), LONGEST_WAIT)
    except ValueError:
        return 0.0
