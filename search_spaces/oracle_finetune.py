"""Options of the oracle that is fine-tuned. It is no competitor, and nothing of it is searched."""

from benchmark.config.options import MethodOptions, option


class Options(MethodOptions):
    """Options of the student's supervised training."""

    learning_rate: float = option(1e-3, "of Adam", gt=0)
    epochs: int = option(20, "passes over train and pair", ge=1)
    batch_size: int = option(32, "windows a step", ge=1)
