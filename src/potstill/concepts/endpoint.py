"""A language model behind an OpenAI-compatible endpoint: hosted, or vLLM, Ollama or llama.cpp on this machine."""

import email.utils
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from potstill.concepts.language import Message, Refused, Reply, Unavailable
from potstill.core.errors import PotstillError

HOPELESS = (401, 403, 404)
"""No question will be answered: wrong key, no right, no such model or path."""

AGAIN = (408, 409, 425, 429)
"""Worth asking again, as are all from 500."""


class Endpoint:
    """Chat completions by the `openai` client; its own retries are off, since Patience does that.

    `base_url` goes before OPENAI_BASE_URL; the key is read from the environment variable `key_from` and sent to that
    address. Without a key an address must be given: local servers need none. `temperature` is sent only where set;
    `timeout` is in seconds between two bytes. Raises PotstillError where the package, key or address is missing.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        key_from: str = "OPENAI_API_KEY",
        temperature: float | None = None,
        timeout: float = 120.0,
    ) -> None:
        try:
            from openai import OpenAI
        except ImportError:
            raise PotstillError(
                "asking an endpoint needs the package openai: pip install 'potstill[llm]'"
            ) from None
        address = base_url or os.environ.get("OPENAI_BASE_URL")
        if address and not address.startswith(("http://", "https://")):
            raise PotstillError(f"the base URL must begin with http:// or https://, not {address!r}")
        self._key = os.environ.get(key_from, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise PotstillError(f"the environment variable {key_from} holds characters that no key has")
        if not self._key and not address:
            raise PotstillError(
                f"the environment variable {key_from} holds no key: set it, name another one, or give the base URL "
                "of a server that needs none"
            )
        self._model = model
        self._options: dict[str, Any] = {} if temperature is None else {"temperature": temperature}
        self._client = OpenAI(
            api_key=self._key or "none", base_url=address, timeout=timeout, max_retries=0
        ).chat.completions.with_raw_response

    @property
    def provenance(self) -> Mapping[str, str]:
        """The model's name, and the temperature where one is set."""
        return {"model": self._model} | {name: f"{value:g}" for name, value in self._options.items()}

    def ask(self, messages: Sequence[Message]) -> Reply:
        """One request; raises as LanguageModel says."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        turns: Any = [dict(message) for message in messages]
        try:
            response = self._client.create(model=self._model, messages=turns, **self._options)
        except APITimeoutError:
            raise Unavailable("no answer in time") from None
        except APIConnectionError as error:
            raise Unavailable(f"no connection: {error.__cause__ or error}") from None
        except APIStatusError as error:
            raise self._failure(error.status_code, str(error), error.code, error.response.headers) from None
        return _reply(response.content)

    def _failure(self, status: int, told: str, code: str | None, headers: Mapping[str, str]) -> Exception:
        told = told.replace(self._key, "(key)") if self._key else told
        reason = f"HTTP {status}: {told[:500]}"
        if status in HOPELESS or code == "insufficient_quota":
            return PotstillError(f"the endpoint will not answer as model {self._model!r}: {reason}")
        if status in AGAIN or status >= 500:
            return Unavailable(reason, retry_after(headers.get("retry-after", ""), time.time()))
        return Refused(reason)


def retry_after(header: str, now: float) -> float | None:
    """The seconds that a Retry-After header asks for, given in seconds or as a date; None where it says nothing."""
    try:
        wait = float(header)
    except ValueError:
        try:
            wait = email.utils.parsedate_to_datetime(header).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(wait) else max(wait, 0.0)


def _reply(body: bytes) -> Reply:
    try:
        completion = json.loads(body)
        message = completion["choices"][0]["message"]
        text, refusal = _text(message.get("content")), message.get("refusal")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Unavailable(f"what came is no chat completion ({type(error).__name__}: {error})") from None
    if refusal and not text:
        raise Refused(f"the model refuses: {str(refusal)[:500]}")
    usage = completion.get("usage")
    counts = [_count(usage, name) for name in ("prompt_tokens", "completion_tokens")]
    return Reply(text.encode("utf-8", "replace").decode(), *counts)


def _text(content: Any) -> str:
    """The text of a message, which may come in parts; "" where there is none."""
    parts = content if isinstance(content, list) else [{"text": content or ""}]
    return "".join(part["text"] for part in parts if "text" in part)


def _count(usage: Any, name: str) -> int:
    """A number of tokens; 0 where it is told in no such form, for the answer itself is paid for."""
    told = usage.get(name) if isinstance(usage, Mapping) else None
    return told if isinstance(told, int) and told > 0 else 0
