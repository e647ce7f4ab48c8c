"""The judge as it is reached: one chat completion a row, asked again where that can help."""

import os
import random
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from kerasft.errors import KerasftError
from kerasft.judging.grades import Grade, read_reply
from kerasft.judging.messages import Message, question_for

KEY_VARIABLE = "OPENAI_API_KEY"
LONGEST_WAIT = 60.0  # seconds between two requests about one row
ROWS_WITHOUT_REPLY = 8  # so many failures in a row, and no further one is asked about
TRANSIENT = frozenset([408, 409, 425, 429])
CONFIGURATION = {
    401: f"it does not accept the key; set {KEY_VARIABLE}",
    403: "the key may not use it",
    404: "there is no such model or path; check --judge-model, and that the URL ends as the "
    "server's does (often /v1)",
}


class _NoReply(Exception):
    """All attempts failed; the message says how, without the key."""

    def __init__(self, message: str, requests: int, *, refused: bool = False) -> None:
        super().__init__(message)
        self.requests = requests
        self.refused = refused


class Judge:
    """A model behind an OpenAI-compatible endpoint that grades answers.

    The key goes to the endpoint alone: it is cut out of every message that an error or a grade
    carries. Temperature is 0 and the reply is asked for as a JSON object; an endpoint that
    knows one of these settings not is asked again without it.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        attempts: int = 5,
        backoff: float = 1.0,
        max_workers: int = 4,
    ) -> None:
        """Nothing is sent yet.

        Args:
            url: base of the endpoint, as `http://localhost:8000/v1`; without a path `/v1` is
                added.
            model: as the endpoint calls it.
            api_key: the environment's `OPENAI_API_KEY` where not given; servers that need none
                get a placeholder.
            timeout: seconds for one request.
            attempts: requests about one row at the most.
            backoff: seconds before the second request about a row, doubled before each further
                one; a `Retry-After` of the endpoint counts more.
            max_workers: requests at the same time.

        Raises:
            KerasftError: the `openai` package is missing, the URL is not one of HTTP or holds
                a password, the key cannot stand in a header, or a limit is not positive.
        """
        if min(timeout, attempts, backoff, max_workers) <= 0:
            raise KerasftError("a judge's timeout, attempts, backoff and max_workers are positive")
        self.url = _base_url(url)
        self.model = model
        self._key = _usable_key(api_key or os.environ.get(KEY_VARIABLE) or "")
        self._attempts = attempts
        self._backoff = backoff
        self._max_workers = max_workers
        self._settings: dict[str, Any] = {
            "temperature": 0,
            "response_format": {"type": "json_object"},
        }
        self._lock = threading.Lock()
        self._failures = 0  # rows in a row without a reply
        self._client = _client(self.url, self._key, timeout)

    def __repr__(self) -> str:
        return f"Judge({self.url!r}, {self.model!r})"

    def described(self) -> dict[str, Any]:
        """Endpoint, model and settings that were sent, for a results file; never the key."""
        return {"url": self.url, "model": self.model, "settings": dict(self._settings)}

    def grade(
        self, task: str, rows: Sequence[Mapping[str, Any]], answers: Sequence[str]
    ) -> list[Grade]:
        """One grade a row, in the order of the rows.

        A row about which the endpoint gives no reply is graded `failed`; after
        `ROWS_WITHOUT_REPLY` of them one after the other, in this call and those before, this
        judge asks about no further one.

        Args:
            task: `text_to_sql` or `instruct`.
            rows: with the task's columns.
            answers: what the model wrote, one a row.

        Raises:
            ValueError: not one answer a row.
            KerasftError: the endpoint refuses the key, the model or the account, which no row
                would change.
        """
        if len(rows) != len(answers):
            raise ValueError(f"{len(rows)} rows, but {len(answers)} answers: give one a row")
        ended = threading.Event()
        pool = ThreadPoolExecutor(self._max_workers, thread_name_prefix="judge")
        try:
            return list(pool.map(lambda *pair: self._one(ended, task, *pair), rows, answers))
        finally:
            # After an error or Ctrl-C nothing more is sent, and no worker waits to ask again.
            ended.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _one(self, ended: threading.Event, task: str, row: Mapping[str, Any], answer: str) -> Grade:
        question = question_for(task, row, answer)
        if question.verdict_without_asking is not None:
            return Grade("wrong", question.verdict_without_asking, requests=0)
        if self._failures >= ROWS_WITHOUT_REPLY:
            reason = f"not asked: {ROWS_WITHOUT_REPLY} rows before it got no reply"
            return Grade("failed", reason, requests=0)
        try:
            completion, requests = self._ask(ended, question.messages)
        except _NoReply as error:
            self._heard(error.refused)
            return Grade("refused" if error.refused else "failed", str(error), 0, 0, error.requests)
        self._heard(True)
        verdict, reason = _read(completion)
        usage = completion.usage
        return Grade(
            verdict,
            self._without_key(reason),
            prompt_tokens=getattr(usage, "prompt_tokens", None) or 0,
            completion_tokens=getattr(usage, "completion_tokens", None) or 0,
            requests=requests,
        )

    def _ask(self, ended: threading.Event, messages: list[Message]) -> tuple[Any, int]:
        """A completion, and how many requests it took."""
        import openai

        requests = 0
        while True:
            settings = dict(self._settings)
            requests += 1
            try:
                completion = self._client.chat.completions.create(
                    model=self.model, messages=messages, **settings
                )
                if getattr(completion, "choices", None):
                    return completion, requests
                fault, wait = "a reply without a choice", None
            except openai.APIStatusError as error:
                fault, wait = self._fault(error, settings, requests)
                if wait == 0:
                    continue
            except openai.APITimeoutError:
                fault, wait = "no reply in time", None
            except (openai.APIConnectionError, openai.APIError, ValueError) as error:
                # ValueError: a reply that is no JSON.
                fault, wait = self._without_key(f"{type(error).__name__}: {error}"), None
            if requests >= self._attempts:
                times = "once" if requests == 1 else f"{requests} times"
                raise _NoReply(f"asked {times}, at last: {fault}", requests)
            if ended.wait(wait or self._wait(requests)):
                raise _NoReply("the judging was ended", requests)

    def _fault(
        self, error: Any, sent: Mapping[str, Any], requests: int
    ) -> tuple[str, float | None]:
        """What a status means, and how long to wait (None: as usual, 0: ask again at once).

        Raises:
            KerasftError: no row can be graded.
            _NoReply: this row cannot be graded.
        """
        status = error.status_code
        said = self._without_key(_said(error))
        fault = f"status {status}: {said}"
        if status in CONFIGURATION:
            raise KerasftError(f"the judge at {self.url}: {CONFIGURATION[status]} ({fault})")
        if error.code == "insufficient_quota":
            raise KerasftError(f"the judge at {self.url}: the account has no quota left ({said})")
        if status in TRANSIENT or status >= 500:
            return fault, _retry_after(error)
        refused = error.code in ("content_filter", "content_policy_violation")
        unknown = [name for name in sent if name in said]
        if refused or not unknown:
            raise _NoReply(fault, requests, refused=refused)
        with self._lock:
            for name in unknown:
                self._settings.pop(name, None)
        return fault, 0

    def _heard(self, reply: bool) -> None:
        with self._lock:
            self._failures = 0 if reply else self._failures + 1

    def _wait(self, requests: int) -> float:
        """Seconds before the next request, spread so that the workers do not come together."""
        return min(self._backoff * 2 ** (requests - 1), LONGEST_WAIT) * random.uniform(0.75, 1.25)

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def _read(completion: Any) -> tuple[Any, str]:
    choice = completion.choices[0]
    refusal = getattr(choice.message, "refusal", None)
    if refusal or choice.finish_reason == "content_filter":
        return "refused", str(refusal or "the endpoint's content filter")
    verdict, reason = read_reply(choice.message.content or "")
    if verdict == "unparsable" and choice.finish_reason == "length":
        return verdict, "the reply was cut off"
    return verdict, reason


def _said(error: Any) -> str:
    """The endpoint's own words, in one short line."""
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(message or error.message).split())[:300]


def _retry_after(error: Any) -> float | None:
    try:
        seconds = float(error.response.headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return min(seconds, LONGEST_WAIT) if seconds > 0 else None


def _base_url(url: str) -> str:
    url = url.strip()
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none, a bracket that is not closed
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise KerasftError(
            "a judge's URL begins with http:// or https:// and a host, with a port from 1 to 65535 "
            "if any, for example http://localhost:8000/v1"
        )
    if parts.username is not None or parts.password is not None or parts.query:
        raise KerasftError(
            "a judge's URL holds no user, password or query, since it is written into results; "
            f"give the key in {KEY_VARIABLE}"
        )
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def _usable_key(key: str) -> str | None:
    """The key without the space around it that files and pasting leave; None where there is none.

    Raises:
        KerasftError: a header cannot hold it. Each row would fail, for a reason nobody could see.
    """
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise KerasftError(
            f"the judge's key holds characters that no key has; set {KEY_VARIABLE} again"
        )
    return key or None


def _client(url: str, key: str | None, timeout: float) -> Any:
    try:
        from openai import OpenAI
    except ImportError:
        raise KerasftError(
            'a judge needs the openai package: pip install "kerasft[judge]"'
        ) from None
    # Retries are made here, where they are counted.
    return OpenAI(base_url=url, api_key=key or "none", timeout=timeout, max_retries=0)
