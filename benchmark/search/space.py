"""Search spaces as studies ask of them, and as they can be read without a study; what of them saves enough."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark import registry
from benchmark.config.options import Blocks
from benchmark.config.schema import Config
from benchmark.errors import InputError
from benchmark.frozen.weights import Shapes
from benchmark.method import Size, student_parameters

MEMBER = "@"
"""``rank@2``: the rank of the third of trials that are trained together; what has no ``@`` is the first one's, and
shared."""


class FixedOr:
    """An Optuna trial that does not search what the user has fixed.

    For a later ``member`` of trials that are trained together, what it does not share with the first is asked for under
    a name of its own.
    """

    def __init__(self, trial: Any, fixed: Mapping[str, Any], member: int = 0, shared: Sequence[str] = ()):
        self._trial, self._fixed, self._member, self._shared = trial, fixed, member, shared

    def __getattr__(self, name: str) -> Any:
        suggest = getattr(self._trial, name)
        if not name.startswith("suggest_"):
            return suggest

        def ask(parameter: str, *args: Any, **options: Any) -> Any:
            fixed = self._fixed.get(parameter)
            if fixed is not None:
                return fixed
            own = self._member and parameter not in self._shared
            return suggest(f"{parameter}{MEMBER}{self._member}" if own else parameter, *args, **options)

        return ask


class SpaceRecorder:
    """Stands in for an Optuna trial to learn what a search space asks for; a ``fixed`` option has its one value.

    It answers with the first value of an option, but for those that are ``chosen``.
    """

    def __init__(self, fixed: Mapping[str, Any]):
        self.found: dict[str, Sequence[Any]] = {name: [value] for name, value in fixed.items() if value is not None}
        self.chosen: Mapping[str, Any] = {}

    def _ask(self, name: str, values: Sequence[Any]) -> Any:
        return self.chosen.get(name, self.found.setdefault(name, values)[0])

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._ask(name, list(choices))

    def suggest_int(self, name: str, low: int, high: int, **options: Any) -> Any:
        return self._ask(name, range(low, high + 1))

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> Any:
        return self._ask(name, [low, high])


def recorded_space(space: Any, options: Mapping[str, Any], blocks: Blocks) -> Mapping[str, Sequence[Any]]:
    """The values of every option over a search space (a module with ``space``); of a float, its two ends.

    Options that are asked for only beside some value of another one are among them.
    """
    recorder = SpaceRecorder(options)
    space.space(recorder, blocks)
    for name, values in [*recorder.found.items()]:
        for value in values[1:]:
            recorder.chosen = {name: value}
            space.space(recorder, blocks)
    return recorder.found


def searched_space(space: Any, fixed: Mapping[str, Any], blocks: Blocks) -> Mapping[str, Sequence[Any]]:
    """The same of what is searched: options that are not fixed."""
    found = recorded_space(space, fixed, blocks)
    return {option: values for option, values in found.items() if fixed.get(option) is None}


class Saving:
    """How much less a method trains than the whole new model, and whether that is as much as the user asks for.

    Methods that claim to save (``Method.saves``) must; others may train what they like.
    """

    def __init__(self, config: Config, method: str, shapes: Shapes):
        self.kind, self.shapes, self.name = registry.get(method), shapes, method
        self.least = config.search.min_reduction if self.kind.saves else None
        self.student = student_parameters(shapes.new, shapes.n_classes)

    def of(self, parameters: int) -> float:
        """1 - parameters / those of the whole new model with its head."""
        return 1 - parameters / self.student

    def enough(self, options: Mapping[str, Any]) -> bool:
        """Whether one configuration saves enough."""
        if self.least is None:
            return True
        return all(self.of(size.most) >= self.least for size in self._sizes({k: [v] for k, v in options.items()}))

    def check(self, options: Mapping[str, Any]) -> None:
        """InputError where nothing in the search space, with these options fixed, saves enough."""
        if self.least is None:
            return
        space = recorded_space(registry.search_space(self.name), options, self.shapes.blocks)
        most = max(self.of(size.least) for size in self._sizes(space))
        if most < self.least:
            raise InputError(
                f"search.min_reduction={self.least:g}, but nothing in the search space of {self.name} saves more than "
                f"{max(most, 0):.3f} of the {self.student:,} parameters of the whole new model; lower it, or free "
                f"what is fixed of {self.name}"
            )

    def _sizes(self, space: Mapping[str, Sequence[Any]]) -> Sequence[Size]:
        return self.kind.sizes(self.shapes.old, self.shapes.new, self.shapes.n_classes, space)
