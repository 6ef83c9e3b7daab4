"""One table of settings behind code, environment and README."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from digits.settings import BadSetting, LocalSettings, WebSettings, read, setting, table
from tests.conftest import ROOT


def test_without_an_environment_the_defaults_hold() -> None:
    assert read(LocalSettings, {}) == LocalSettings()


def test_a_variable_sets_its_field() -> None:
    assert read(WebSettings, {"DIGITS_WEB_PORT": "9999", "DIGITS_MODEL_TARGET": "models:1"}).web_port == 9999


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("eighty", r"DIGITS_WEB_PORT: got 'eighty'; wanted a whole number \(port\)"),
        ("70000", "DIGITS_WEB_PORT: got 70000; wanted 1 to 65535 port"),
        ("", "DIGITS_WEB_PORT: got ''"),
    ],
)
def test_a_wrong_value_names_the_variable(value: str, complaint: str) -> None:
    with pytest.raises(BadSetting, match=complaint):
        read(WebSettings, {"DIGITS_WEB_PORT": value})


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("READ_TIMEOUT_S", "nan", "got nan; wanted 0.1 to 600 s"),
        ("RATE_LIMIT", "nan", "got nan; wanted 0 or more requests/s"),
        ("RATE_LIMIT", "inf", "got inf; wanted 0 or more requests/s"),
        ("RATE_LIMIT", "-1", "got -1; wanted 0 or more requests/s"),
        ("CANARY_PERCENT", "-inf", "got -inf; wanted 0 to 100 %"),
        ("MAX_WAITING", "9" * 400, "wanted 1 to 100000 requests"),
    ],
)
def test_only_finite_numbers_within_their_bounds_pass(name: str, value: str, complaint: str) -> None:
    with pytest.raises(BadSetting) as told:
        read(WebSettings, {f"DIGITS_{name}": value})
    assert str(told.value).startswith(f"DIGITS_{name}: got {value}; wanted ")
    assert str(told.value).endswith(complaint)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("MODEL_TARGET", ("host:8500", "[::1]:8500", "unix:/run/model", "dns:///host:1"), ("", "host", "a host:1")),
        ("CORS_ORIGINS", ("", "*", "https://a.example, http://b:81/", "null"), ("a.example", "https://a.example,b")),
        ("MODEL_NAME", ("digits", "my model"), ("",)),
        ("WEB_HOST", ("::", "0.0.0.0"), ("",)),
    ],
)
def test_texts_have_their_form(name: str, good: tuple[str, ...], bad: tuple[str, ...]) -> None:
    for text in good:
        assert getattr(read(WebSettings, {f"DIGITS_{name}": text}), name.lower()) == text
    for text in bad:
        with pytest.raises(BadSetting) as told:
            read(WebSettings, {f"DIGITS_{name}": text})
        assert str(told.value).startswith(f"DIGITS_{name}: got {text!r}; wanted ")


@dataclass(frozen=True)
class Loose:
    """Numbers with one bound, and with none."""

    below: float = setting(0.0, "m", "", high=5)
    free: float = setting(0.0, "m", "")


def test_a_bound_that_is_not_there_is_not_named() -> None:
    assert read(Loose, {"DIGITS_BELOW": "-1e300", "DIGITS_FREE": "1e300"}) == Loose(-1e300, 1e300)
    for name, value, wanted in (("BELOW", "6", "at most 5 m"), ("FREE", "inf", "any finite number of m")):
        with pytest.raises(BadSetting, match=f"got {value}; wanted {wanted}"):
            read(Loose, {f"DIGITS_{name}": value})


def test_the_readme_shows_this_very_table() -> None:
    assert table() in (ROOT / "README.md").read_text(), "run `python -m digits settings` and paste its table into README.md"
