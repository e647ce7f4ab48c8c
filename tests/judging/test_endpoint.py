"""The judge against a local stub of its endpoint: what is sent, and what faults become."""

import json
import logging
import threading
from dataclasses import asdict
from typing import Any

import pytest

from kerasft.errors import KerasftError
from kerasft.judging import Judge, summarise_grades
from tests.judging.stub import Reply, completion, serve, verdict

pytest.importorskip("openai")

CANARY = "sk-canary-0123456789abcdef"
ROW = {
    "question": "How many singers are there?",
    "context": "CREATE TABLE singer (id INT);",
    "sql": "SELECT count(*) FROM singer",
}


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def judge(url: str, **options: Any) -> Judge:
    return Judge(url, "stub", **{"backoff": 0.01, "max_workers": 1, **options})


def test_what_is_sent_and_what_comes_back() -> None:
    with serve(lambda number, _: Reply(verdict("right" if number == 0 else "wrong"))) as stub:
        grades = judge(stub.url).grade("text_to_sql", [ROW] * 2, ["SELECT 1", "SELECT 2"])
    assert [grade.verdict for grade in grades] == ["right", "wrong"]
    assert (grades[0].reason, grades[0].prompt_tokens, grades[0].requests) == ("so it is", 100, 1)
    headers, body = stub.requests[0]
    assert headers["path"] == "/v1/chat/completions"
    assert (body["model"], body["temperature"]) == ("stub", 0)
    assert body["response_format"] == {"type": "json_object"}
    system, user = body["messages"]
    assert (system["role"], user["role"]) == ("system", "user")
    for text in (*ROW.values(), "SELECT 1"):
        assert text in user["content"] and text not in system["content"]


def test_transient_faults_are_asked_again_and_counted() -> None:
    replies = [
        Reply({"error": {"message": "slow down"}}, 429, {"retry-after": "0.05"}),
        Reply("<html>bad gateway</html>", 502),
        Reply("no JSON at all"),
        Reply(verdict("right")),
    ]
    with serve(lambda number, _: replies[number]) as stub:
        (grade,) = judge(stub.url).grade("text_to_sql", [ROW], ["SELECT 1"])
    assert (grade.verdict, grade.requests) == ("right", 4)
    assert summarise_grades([grade])["retries"] == 3


def test_an_endpoint_that_stays_down_is_given_up() -> None:
    with serve(lambda *_: Reply({"error": {"message": "out of order"}}, 500)) as stub:
        tested = judge(stub.url, attempts=2)
        grades = tested.grade("text_to_sql", [ROW] * 5, ["SELECT 1"] * 5)
        grades += tested.grade("text_to_sql", [ROW] * 15, ["SELECT 1"] * 15)
    assert {grade.verdict for grade in grades} == {"failed"}
    assert "asked 2 times" in grades[0].reason and "out of order" in grades[0].reason
    assert "not asked" in grades[-1].reason
    assert len(stub.requests) == 16
    summary = summarise_grades(grades)
    assert (summary["failed"], summary["right"]["of"], summary["retries"]) == (20, 0, 8)


def test_no_server_at_all() -> None:
    with serve(lambda *_: Reply("")) as stub:
        pass
    (grade,) = judge(stub.url, attempts=2).grade("text_to_sql", [ROW], ["SELECT 1"])
    assert (grade.verdict, grade.requests) == ("failed", 2)


def test_a_slow_reply_is_not_waited_for() -> None:
    def slow_at_first(number: int, _: Any) -> Reply:
        return Reply(verdict("right"), seconds=30.0 if number == 0 else 0.0)

    with serve(slow_at_first) as stub:
        (grade,) = judge(stub.url, timeout=0.3).grade("text_to_sql", [ROW], ["SELECT 1"])
    assert (grade.verdict, grade.requests) == ("right", 2)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(completion(None, refusal="I must not.")), "refused"),
        (Reply(completion("", finish_reason="content_filter")), "refused"),
        (Reply(completion("I'm sorry, but I cannot help with that.")), "refused"),
        (Reply({"error": {"message": "blocked", "code": "content_filter"}}, 400), "refused"),
        (Reply(completion("The answer looks fine to me.")), "unparsable"),
        (Reply(completion('{"reason": "begun', finish_reason="length")), "unparsable"),
        (Reply(completion(None)), "unparsable"),
        (Reply({"error": {"message": "the prompt is too long"}}, 400), "failed"),
    ],
)
def test_what_is_no_verdict(reply: Reply, expected: str) -> None:
    with serve(lambda *_: reply) as stub:
        (grade,) = judge(stub.url).grade("text_to_sql", [ROW], ["SELECT 1"])
    assert (grade.verdict, grade.requests) == (expected, 1)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply({"error": {"message": f"bad key {CANARY}"}}, 401), "OPENAI_API_KEY"),
        (Reply({"error": {"message": "no model stub"}}, 404), "--judge-model"),
        (
            Reply({"error": {"message": "pay first", "code": "insufficient_quota"}}, 429),
            "quota",
        ),
    ],
)
def test_what_no_row_would_change_ends_it(reply: Reply, words: str) -> None:
    with serve(lambda *_: reply) as stub, pytest.raises(KerasftError, match=words) as error:
        judge(stub.url, api_key=CANARY).grade("text_to_sql", [ROW] * 9, ["SELECT 1"] * 9)
    assert len(stub.requests) <= 2
    assert CANARY not in str(error.value)


def test_a_setting_that_the_endpoint_knows_not_is_left_out() -> None:
    def picky(_: int, body: dict[str, Any]) -> Reply:
        for name in ("response_format", "temperature"):
            if name in body:
                return Reply({"error": {"message": f"Unsupported parameter: {name}"}}, 400)
        return Reply(verdict("right"))

    with serve(picky) as stub:
        picked = judge(stub.url)
        grades = picked.grade("text_to_sql", [ROW] * 2, ["SELECT 1"] * 2)
    assert [grade.requests for grade in grades] == [3, 1]
    assert picked.described()["settings"] == {}


def test_nothing_to_judge_is_not_asked_about() -> None:
    with serve(lambda *_: Reply(verdict("right"))) as stub:
        tested = judge(stub.url)
        grades = tested.grade("text_to_sql", [ROW], ["I do not know."])
        row = {"instruction": "Name a fruit.", "context": "", "response": "An apple."}
        grades += tested.grade("instruct", [row] * 2, ["", "A pear."])
    assert [grade.verdict for grade in grades] == ["wrong", "wrong", "right"]
    assert len(stub.requests) == 1
    assert "A pear." in stub.requests[0][1]["messages"][1]["content"]


def test_workers_ask_side_by_side_and_grades_keep_their_order() -> None:
    together = threading.Barrier(4, timeout=20)

    def answer(_: int, body: dict[str, Any]) -> Reply:
        together.wait()  # passes only if four requests are open at once
        right = "SELECT 1\n" in body["messages"][1]["content"]
        return Reply(verdict("right" if right else "wrong"))

    with serve(answer) as stub:
        answers = [f"SELECT {number % 2}" for number in range(8)]
        grades = judge(stub.url, max_workers=4).grade("text_to_sql", [ROW] * 8, answers)
    assert [grade.verdict for grade in grades] == ["wrong", "right"] * 4


def test_the_key_goes_to_the_endpoint_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Even where the endpoint sends it back: in an error, in a reply, in a refusal."""
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    caplog.set_level(logging.DEBUG)
    replies = [
        Reply(verdict("wrong", f"the key is {CANARY}")),
        Reply(completion(f"your key {CANARY} is fine")),
        Reply(completion(None, refusal=f"not for {CANARY}")),
        Reply({"error": {"message": f"what is {CANARY}?"}}, 400),
        Reply({"error": {"message": f"busy with {CANARY}"}}, 500),
    ]
    with serve(lambda number, _: replies[number]) as stub:
        tested = judge(stub.url, attempts=1)
        grades = tested.grade("text_to_sql", [ROW] * 5, ["SELECT 1"] * 5)
    assert all(headers["authorization"] == f"Bearer {CANARY}" for headers, _ in stub.requests)
    told = [json.dumps([asdict(grade) for grade in grades]), repr(tested), caplog.text]
    told.append(json.dumps(tested.described()))
    assert [grade.verdict for grade in grades] == [
        "wrong", "unparsable", "refused", "failed", "failed",
    ]  # fmt: skip
    assert not any(CANARY in text for text in told)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:8000", "http://"),
        ("file:///etc/passwd", "http://"),
        ("http://[::1", "http://"),
        ("http://host:port/v1", "1 to 65535"),
        ("http://host:99999/v1", "1 to 65535"),
        ("http://ho st/v1", "http://"),
        (f"https://user:{CANARY}@host/v1", "no user, password"),
        (f"https://host/v1?key={CANARY}", "no user, password"),
    ],
)
def test_urls_that_are_refused(url: str, words: str) -> None:
    with pytest.raises(KerasftError, match=words) as error:
        Judge(url, "stub")
    assert CANARY not in str(error.value)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://host:1", "http://host:1/v1"),
        ("https://host/api/", "https://host/api"),
        ("https://host/v1/chat/completions", "https://host/v1"),
    ],
)
def test_urls_as_people_write_them(url: str, base: str) -> None:
    assert Judge(url, "stub").url == base


def test_a_key_is_taken_without_the_space_around_it() -> None:
    with serve(lambda *_: Reply(verdict("right", ""))) as stub:
        judge(stub.url, api_key=f" {CANARY}\n").grade("text_to_sql", [ROW], ["SELECT 1"])
    assert stub.requests[0][0]["authorization"] == f"Bearer {CANARY}"


@pytest.mark.parametrize("key", [f"{CANARY}\nHost: x", f"{CANARY}…"])
def test_a_key_that_no_header_can_hold_is_refused_before_anything_is_sent(key: str) -> None:
    with pytest.raises(KerasftError, match="OPENAI_API_KEY") as error:
        Judge("http://host", "stub", api_key=key)
    assert CANARY not in str(error.value)


def test_one_answer_a_row() -> None:
    with pytest.raises(ValueError, match="1 rows, but 0 answers"):
        judge("http://host").grade("text_to_sql", [ROW], [])
