"""In which order methods stand in tables and figures, what they are called there, and what kind they are."""

from collections.abc import Iterable

FLOORS = {"chance": "Chance", "majority": "Majority class", "random_bridge": "Random bridge"}
TRANSFER = {
    "bridge": "Bridge",
    "kd_logits": "KD logits",
    "kd_features": "KD features",
    "kd_contrast": "KD contrastive",
    "kd_relational": "KD relational",
    "translate": "Translation",
}
CEILINGS = {"teacher": "Teacher", "oracle_probe": "Oracle probe", "oracle_finetune": "Oracle fine-tuned"}

STUDENT = "kd_logits"
"""The method that trains the whole new model: what parameter counts are compared with."""


def label(method: str) -> str:
    """The name that a reader sees; a method that is not known here keeps its own."""
    return {**FLOORS, **TRANSFER, **CEILINGS}.get(method, method)


def kind(method: str) -> str:
    """``"floor"``, ``"transfer"`` or ``"ceiling"``; a method that is not known here is taken for a transfer method."""
    return "floor" if method in FLOORS else "ceiling" if method in CEILINGS else "transfer"


def ordered(methods: Iterable[str]) -> list[str]:
    """References that a method should beat, transfer methods, then the teacher and what labels would have given."""
    found = set(methods)
    known = [*FLOORS, *TRANSFER]
    unknown = sorted(found - set(known) - set(CEILINGS))
    return [method for method in [*known, *unknown, *CEILINGS] if method in found]
