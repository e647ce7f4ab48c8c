"""Which rows tuning fixed and which it broke."""

from kerasft.evaluating.changes import changed_examples, comparison, measured_fields
from kerasft.tasks import instruct


def line(number, base, tuned):
    return {
        "question": f"q{number}",
        "sql": f"gold {number}",
        "base": {"answer": f"b{number}", "right": base, "words": 2},
        "tuned": {"answer": f"t{number}", "right": tuned, "words": number},
    }


LINES = [
    line(0, False, True),
    line(1, True, True),
    line(2, True, False),
    line(3, None, True),
    line(4, False, True),
]


def test_each_field_is_compared_by_its_kind():
    found = comparison(LINES, ["right"], ["words"])
    assert found["right"]["rows"] == {"fixed": [0, 4], "broken": [2]}
    assert (found["right"]["fixed"], found["right"]["broken"]) == (2, 1)
    assert found["right"]["left_out"] == 1
    assert found["words"]["difference"]["mean"] == 0.0


def test_changed_examples_name_row_question_and_both_answers():
    found = changed_examples(LINES, "right", "question", "sql")
    assert [(each["row"], each["change"]) for each in found] == [
        (2, "broken"),
        (0, "fixed"),
        (4, "fixed"),
    ]
    assert found[0] == {
        "row": 2,
        "change": "broken",
        "asked": "q2",
        "expected": "gold 2",
        "base": "b2",
        "tuned": "t2",
    }


def test_numbers_that_a_task_gives_means_of_are_compared():
    [judgement] = instruct.score([{"response": "a b"}], ["a c"])
    summary = instruct.summarise([judgement])
    assert {"rouge_l", "words"} <= set(measured_fields(judgement, summary))
    assert "category" not in measured_fields(judgement, summary)
