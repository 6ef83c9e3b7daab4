"""One table of settings behind code, environment and README."""

from __future__ import annotations

import pytest

from digits.settings import BadSetting, LocalSettings, WebSettings, read, table
from tests.conftest import ROOT


def test_without_an_environment_the_defaults_hold() -> None:
    assert read(LocalSettings, {}) == LocalSettings()


def test_a_variable_sets_its_field() -> None:
    assert read(WebSettings, {"DIGITS_WEB_PORT": "9999", "DIGITS_MODEL_TARGET": "models:1"}).web_port == 9999


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("eighty", "DIGITS_WEB_PORT: got 'eighty'; wanted a whole number of port"),
        ("70000", "DIGITS_WEB_PORT: got 70000; wanted 1 to 65535 port"),
        ("", "DIGITS_WEB_PORT: got ''"),
    ],
)
def test_a_wrong_value_names_the_variable(value: str, complaint: str) -> None:
    with pytest.raises(BadSetting, match=complaint):
        read(WebSettings, {"DIGITS_WEB_PORT": value})


def test_the_readme_shows_this_very_table() -> None:
    assert table() in (ROOT / "README.md").read_text(), "run `python -m digits settings` and paste its table into README.md"
