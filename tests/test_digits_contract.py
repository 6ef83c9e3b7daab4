"""The bolts against drift: golden drawings, their digest, and the fingerprint made of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from digits import contract as c
from digits.artifact import check_fingerprint, read_card
from digits.errors import ContractMismatch, IncompleteVersion
from digits.preprocess import digit_image
from export.proof import golden_digest
from tests.conftest import MODELS
from tests.make_golden import GOLDEN

NAMES = json.loads((GOLDEN / "files.json").read_text())
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())


def test_the_golden_files_are_those_of_the_fingerprint() -> None:
    assert golden_digest(GOLDEN) == c.GOLDEN_SHA256


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_drawing_becomes_its_28_by_28_to_the_last_pixel(name: str) -> None:
    expected = np.array([list(bytes.fromhex(row)) for row in EXPECTED[name.rpartition(".")[0]]], np.uint8)
    assert np.array_equal(digit_image((GOLDEN / name).read_bytes()), expected)


def test_the_shipped_artifact_was_made_for_this_contract() -> None:
    for version in sorted(MODELS.iterdir()):
        check_fingerprint(read_card(version)["fingerprint"], str(version))


def test_another_fingerprint_is_refused() -> None:
    with pytest.raises(ContractMismatch, match="version 7 was made for contract 0123456789ab…; this code speaks"):
        check_fingerprint("0123456789abcdef", "version 7")


def test_a_version_without_its_card_is_incomplete(tmp_path: pytest.TempPathFactory) -> None:
    with pytest.raises(IncompleteVersion, match=r"digits\.json"):
        read_card(tmp_path)  # type: ignore[arg-type]
