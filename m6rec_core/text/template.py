"""The small template language of a domain: `{field}`, optional parts in `[..]`, alternatives with `|`, and `a(n)`.

Rules, in full:

- `{field}` is the text of that column. A field is missing when the row has no such column or the text is blank.
- `[...]` is dropped as a whole when a field inside it is missing. `[one|two]` takes the first alternative whose fields
  are all there, so `[{occupation}|viewer]` always prints something. Brackets do not nest.
- A missing field outside brackets makes the whole phrase fail: `render` returns None and the caller has a fallback.
- `a(n)` and `A(n)` become "a" or "an" by the sound of what follows ("an 18 year old", "a 24 year old").
- Everything else is printed as it stands. There are no format specifications and no attribute access.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_FIELD = re.compile(r"\{([^{}\[\]|]+)\}")
_PART = re.compile(r"\[([^\[\]]*)\]")
_ARTICLE = re.compile(r"\b([Aa])\(n\)\s+(?=(\S+))")
_AN = re.compile(r"(?:[aeiou]|8|(?:11|18)(?!\d))", re.IGNORECASE)
_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


def clean(text: str) -> str:
    """Return text on one line: every run of white space, control and invisible direction characters is one space."""
    return _CONTROL.sub(" ", text).strip()


def field_names(template: str) -> tuple[str, ...]:
    """Return the names of all fields a template mentions, in order of appearance."""
    return tuple(_FIELD.findall(template))


def problem(template: str) -> str | None:
    """Return what is wrong with a template in a few words, or None when it is well formed."""
    rest = _FIELD.sub("", template)
    if "{" in rest or "}" in rest:
        return "a brace without its partner, or a field without a name"
    outside = _PART.sub("", rest)
    if "[" in outside or "]" in outside:
        return "brackets that do not match or are nested"
    return None


def render(template: str, fields: Mapping[str, str]) -> str | None:
    """Fill a template from `fields`; None when a field outside brackets is missing. The result is one clean line."""
    known = {name: text for name, value in fields.items() if (text := clean(value))}
    pieces: list[str] = []
    end = 0
    for match in _PART.finditer(template):
        fixed = _fill(template[end : match.start()], known)
        if fixed is None:
            return None
        alternatives = (_fill(part, known) for part in match.group(1).split("|"))
        pieces += [fixed, next((text for text in alternatives if text is not None), "")]
        end = match.end()
    last = _fill(template[end:], known)
    return None if last is None else clean(_articles("".join(pieces), last))


def _fill(part: str, known: Mapping[str, str]) -> str | None:
    if any(name not in known for name in _FIELD.findall(part)):
        return None
    return _FIELD.sub(lambda match: known[match.group(1)], part)


def _articles(before: str, last: str) -> str:
    return _ARTICLE.sub(lambda match: f"{match[1]}{'n' if _AN.match(match[2]) else ''} ", before + last)
