"""Every error has a status, a code of its own, and a place in the documentation."""

import re

from docs.generator import errors as page
from taximeter.http.problem import STATUS
from taximeter.kernel import errors
from tests.architecture.source import ROOT

ERRORS = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, errors.TaximeterError)
]
RAISED = [error for error in ERRORS if error is not errors.TaximeterError]


def test_there_are_errors_to_judge() -> None:
    assert errors.NotFound in RAISED


def test_every_error_has_a_status() -> None:
    names = {error.__name__ for error in RAISED}
    mapped = {error.__name__ for error in STATUS}
    assert mapped == names, "Bring http/problem.STATUS and kernel/errors.py together."


def test_a_code_names_one_class() -> None:
    codes = [vars(error)["code"] for error in ERRORS if "code" in vars(error)]
    assert len(set(codes)) == len(codes), f"A code stands twice: {sorted(codes)}"


def test_every_error_has_a_message() -> None:
    silent = [error.__name__ for error in RAISED if "__doc__" not in vars(error)]
    assert not silent, f"The docstring is the message. Write one for {silent}."


def test_every_error_stands_in_the_tree() -> None:
    tree = set(re.findall(r"^ {4}.*?([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE))
    names = {error.__name__ for error in ERRORS}
    assert tree == names, "Draw every class in the tree at the top of kernel/errors.py."


def test_every_code_is_documented() -> None:
    documented = set(page.ERROR_CODES) | set(page.FIELD_CODES)
    used = page.codes_in_use(ROOT / "src/taximeter")
    cure = "Say what it means in docs/generator/errors.py, or take it out, then run: make docs"
    assert used - documented == set(), cure
    assert documented - used == set(), cure
