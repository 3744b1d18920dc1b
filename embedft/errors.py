"""The errors that embedft raises for faults of its input.

Every one carries a message that says what was found and where, and a hint that says how to mend it. The command line
prints both and exits with status 2; no user's mistake ends in a traceback.
"""


class EmbedftError(Exception):
    """A fault of the user's input, files or surroundings.

    Args:
        message: what was found and where (file, line, field), and what was expected.
        hint: how to mend it, as one sentence that starts with a verb.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class DataError(EmbedftError):
    """A data set is missing, broken, or does not fit the task."""


class ConfigError(EmbedftError):
    """A setting is unknown, has the wrong type, or contradicts another one."""


class ModelError(EmbedftError):
    """An encoder cannot be found or loaded, or is of an unsupported kind."""


class ArtifactError(EmbedftError):
    """A directory that embedft wrote is missing, damaged, locked or in the way."""


class WrongModelError(ArtifactError):
    """An index was built by another encoder than the one that now asks it."""


class DiskFullError(EmbedftError):
    """The disk ran full while something was written; nothing half-written stands in its place."""


class EndpointError(EmbedftError):
    """A language model's endpoint cannot be reached, or answers with a fault."""


class TrainingError(EmbedftError):
    """Training diverged: a loss or gradient that is no number, or vectors that have become one."""
