from __future__ import annotations

from dataclasses import replace

import pytest

from mattebridge.errors import InputError, UsageError
from mattebridge_server.models.base import ModelCard, Param, Preset
from mattebridge_server.pipeline.params import resolve_params, resolve_preset

CARD = ModelCard(
    name="m",
    title="M",
    summary="",
    licence="MIT",
    temporal="frame",
    plate_state="linear",
    version="1",
    params=(
        Param("reach", 24, "Pixels.", low=1, high=400),
        Param("detail", 0.5, "Fine.", low=0.0, high=1.0),
        Param("temporal", True, "Steady."),
        Param("mode", "fine", "How.", choices=("fine", "fast")),
    ),
)


def test_defaults_are_filled_in_and_values_take_their_type() -> None:
    assert resolve_params(CARD, {}) == {"detail": 0.5, "mode": "fine", "reach": 24, "temporal": True}
    given = {"reach": 30.0, "detail": 1, "temporal": "off", "mode": "fast"}
    assert resolve_params(CARD, given) == {"detail": 1.0, "mode": "fast", "reach": 30, "temporal": False}
    assert list(resolve_params(CARD, {"temporal": 1})) == sorted(["detail", "mode", "reach", "temporal"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"detial": 0.5}, "Did you mean detail"),
        ({"reach": 0}, "between 1 and 400"),
        ({"detail": float("nan")}, "between"),
        ({"mode": "slow"}, "one of fine, fast"),
        ({"reach": "wide"}, "takes a int"),
        ({"temporal": "maybe"}, "takes a bool"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_could(given: dict, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        resolve_params(CARD, given)
    assert says in str(refused.value)


def test_a_preset_that_the_model_does_not_have_is_refused() -> None:
    sized = replace(CARD, presets=(Preset("small", 1, 1), Preset("large", 2, 2)))
    assert resolve_preset(CARD, "") is None and resolve_preset(sized, "large") == sized.presets[1]
    with pytest.raises(InputError, match="no preset 'larg'") as caught:
        resolve_preset(sized, "larg")
    assert "small, large" in caught.value.remedy
    with pytest.raises(InputError, match="no preset 'large'"):
        resolve_preset(CARD, "large")
