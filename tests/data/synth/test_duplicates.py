from kerasft.data.synth.duplicates import Seen, likeness, literals, question_words, skeleton

BOOKS = frozenset({"books.title", "books.price"})


def test_literals_are_read_as_they_are_said() -> None:
    sql = (
        "SELECT a FROM t2 WHERE b = 'O''Neil' AND c LIKE '%ar%' AND d > 3.5 "
        "AND strftime('%Y-%m', e) = '2021-03' LIMIT 2;"
    )
    assert literals(sql) == ["O'Neil", "ar", "3.5", "2021-03", "2"]
    assert "o''neil" not in skeleton(sql)


def test_only_the_literal_differs() -> None:
    first = question_words("List books above 30 dollars.", "SELECT 1 FROM books WHERE price > 30;")
    second = question_words("list books above 5 dollars", "SELECT 1 FROM books WHERE price > 5;")
    assert likeness(first, second) == 1.0


def test_a_spoken_date_is_a_literal() -> None:
    sql = "SELECT a FROM t WHERE d > '2021-03-05';"
    assert question_words("After March 5, 2021", sql) == question_words("After 2021-03-05", sql)


def test_same_query_in_other_words_is_a_near_duplicate() -> None:
    seen = Seen()
    assert seen.admit(BOOKS, "How many books are there?", "SELECT COUNT(*) FROM books;")
    assert not seen.admit(BOOKS, "Count everything on the shelf.", "SELECT COUNT(*) FROM books;")
    assert seen.admit(frozenset({"films.title"}), "Count the films.", "SELECT COUNT(*) FROM books;")


def test_same_words_with_another_query_are_a_near_duplicate() -> None:
    seen = Seen()
    assert seen.admit(BOOKS, "Show the title of books over 3.", "SELECT t FROM b WHERE p > 3;")
    assert not seen.admit(BOOKS, "Show the title of books over 4!", "SELECT t FROM b WHERE p >= 4;")


def test_one_other_word_in_a_short_question_is_no_duplicate() -> None:
    seen = Seen()
    assert seen.admit(BOOKS, "What is the lowest price of all books?", "SELECT MIN(p) FROM b;")
    assert seen.admit(BOOKS, "What is the highest price of all books?", "SELECT MAX(p) FROM b;")
