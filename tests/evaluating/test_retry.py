"""Candidates in the place of invalid SQL, judged by the engine alone."""

from kerasft.evaluating.retry import retry
from kerasft.tasks.text_to_sql import score

CONTEXT = "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1), (2), (2);"


def row(sql: str = "SELECT a FROM t") -> dict[str, str]:
    return {"question": "q", "context": CONTEXT, "sql": sql}


def retried(answers, beams, rows=None):
    rows = rows or [row() for _ in answers]
    asked = []

    def candidates(failed):
        asked.append(list(failed))
        return {index: beams[index] for index in failed}

    return retry(rows, answers, score(rows, answers), candidates), asked


def test_the_first_candidate_that_is_valid_is_taken():
    beam = ["SELEC a", "SELECT b FROM t", "SELECT a FROM t", "SELECT 1"]
    found, asked = retried(["SELEC a", "SELECT a FROM t"], {0: beam})
    assert asked == [[0]]
    assert found.answers == ["SELECT a FROM t", "SELECT a FROM t"]
    assert found.places == {0: 2}  # the greedy answer itself is not counted
    summary = found.summary(4)
    assert (summary["tried"], summary["replaced"], summary["width"]) == (1, 1, 4)
    assert summary["execution_accuracy"]["count"] == 2


def test_a_valid_wrong_candidate_is_taken_though_a_right_one_follows():
    """What is right is not known to who asks, so it must not decide."""
    found, _ = retried(["nothing"], {0: ["SELECT 1", "SELECT a FROM t"]})
    assert found.answers == ["SELECT 1"]
    assert found.judgements[0].execution_match is False


def test_a_wrong_answer_that_runs_is_not_tried_again():
    found, asked = retried(["SELECT 1"], {})
    assert asked == [] and found.failed == [] and found.answers == ["SELECT 1"]


def test_nothing_better_leaves_the_greedy_answer():
    greedy = "SELECT nothing FROM t"
    found, _ = retried([greedy, greedy], {0: [greedy], 1: ["SELEC", "FROM t"]})
    assert found.answers == [greedy, greedy] and found.places == {}
    assert found.failed == [0, 1]


def test_a_row_whose_database_cannot_be_had_is_not_tried():
    broken = {**row(), "database": "nowhere.sqlite"}
    found, asked = retried(["SELEC"], {0: ["SELECT 1"]}, [broken])
    assert asked == [] and found.judgements[0].status == "context_error"
