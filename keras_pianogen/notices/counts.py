"""Counts in sentences."""


def counted(number: int, noun: str) -> str:
    """A number and its noun, with an "s" unless there is one.

    Examples:
        >>> counted(1, "note"), counted(2000, "note")
        ('1 note', '2,000 notes')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
