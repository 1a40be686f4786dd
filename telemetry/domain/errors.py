"""The one error a parser raises."""


class ParseError(ValueError):
    """One event cannot be taken: which field, and what is wrong with it in a sentence for the sender."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
