"""The prompt forms: how a user's liked titles become a text that a candidate continues.

Six are those of Sileo et al. (2022), "[M]" the titles joined by commas; "clicks" is the paper's (3.2); "interests" asks
for tags instead of titles. The blank between context and choice belongs to the choice, since byte-pair tokenizers
attach it to the word that follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Prompt:
    """`opening` comes before the titles ("{Noun}s" is the plural with a capital), `joint` after each of them.

    `bridge` comes between the titles and the choice and is part of the target region, unscored, where it is not empty.
    """

    opening: str
    joint: str = ","
    bridge: str = ""

    def open(self, noun: str) -> str:
        """The opening with the noun in place."""
        return self.opening.replace("{Noun}", f"{noun[:1].upper()}{noun[1:]}").replace("{noun}", noun)


PROMPTS: Mapping[str, Prompt] = MappingProxyType(
    {
        "list": Prompt(""),
        "like": Prompt("{Noun}s like"),
        "similar": Prompt("{Noun}s similar to"),
        "like-colon": Prompt("{Noun}s like:"),
        "similar-colon": Prompt("{Noun}s similar to:"),
        "if-you-liked": Prompt("If you liked", bridge=" you will also like"),
        "clicks": Prompt("A user clicks", bridge=" also clicks"),
        "interests": Prompt("The user likes", bridge=" and is interested in"),
    }
)
"""Name -> form. "list" is "[M]", "like" is "Movies like [M]", and so on in the order of Sileo et al."""

SILEO = ("list", "like", "similar", "like-colon", "similar-colon", "if-you-liked")
"""The six forms of Sileo et al."""
