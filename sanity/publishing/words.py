"""Sentences that every page needs: who is ahead of whom, and how many of what."""

from __future__ import annotations


def ahead(arm: str, gap: float, *, of: str = "the trained arm", digits: int = 3) -> str:
    """Who is ahead, by how much: `gap` is `of` minus `arm`, in the metric's better direction.

    >>> ahead("frozen decoder", 0.012)
    'the trained arm is ahead of frozen decoder by 0.012'
    >>> ahead("frozen encoder", -0.007)
    'frozen encoder is ahead of the trained arm by 0.007'
    >>> ahead("random directions", -0.007)
    'random directions are ahead of the trained arm by 0.007'
    """
    size = f"{abs(gap):.{digits}f}"
    if float(size) == 0:
        return f"{arm} and {of} are level"
    if gap > 0:
        return f"{of} is ahead of {arm} by {size}"
    return f"{arm} {'are' if arm.endswith('s') else 'is'} ahead of {of} by {size}"


def count(number: int, thing: str) -> str:
    """A number with its noun.

    >>> count(1, "seed"), count(1200, "latent")
    ('1 seed', '1,200 latents')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def span(low: float, high: float, form: str = ".3f") -> str:
    """From low to high, or the one number where both read the same.

    >>> span(0.331, 0.334, ".0%"), span(0.2, 0.3, ".1f")
    ('33%', '0.2 to 0.3')
    """
    ends = dict.fromkeys(f"{end:{form}}" for end in (low, high))
    return " to ".join(ends)
