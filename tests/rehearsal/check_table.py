"""The page shows the numbers that the other checks hold the suite to."""

from tests.rehearsal.table import PAGE, written


def test_the_page_has_the_table():
    page = PAGE.read_text()
    assert written(page) == page, "run python -m tests.rehearsal.table"
