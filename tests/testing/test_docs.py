"""The documentation's examples run, and say what they are said to say."""

import re
from pathlib import Path

import pytest

from creo.testing import CHECKS, CheckFailed

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_runs():
    found = {}
    exec(EXAMPLE, found)  # noqa: S102 (the page's own code)
    assert "normalised" in found["tried"]


def test_the_broken_example_fails_as_shown():
    broken = EXAMPLE.replace("self.logits.log_softmax(-1)", "self.logits")
    assert broken != EXAMPLE
    with pytest.raises(CheckFailed) as error:
        exec(broken, {})  # noqa: S102
    (shown,) = re.findall(r"CheckFailed: (normalised: .*)", PAGE)
    number = re.compile(r"\d+\.\d+")
    assert number.sub("", shown) == number.sub("", str(error.value))
    assert float(number.search(shown)[0]) == pytest.approx(
        float(number.search(str(error.value))[0]), rel=1e-2
    )


def test_the_page_lists_every_rule():
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == [check.name for check in CHECKS]
