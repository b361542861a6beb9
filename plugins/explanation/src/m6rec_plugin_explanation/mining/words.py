"""Closed classes of English words that the miner needs, and the opinion words it starts from."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _words(
    "the a an this that these those my your his her its our their no any some each every both another one"
)
PREPOSITIONS = _words(
    "of in on at for with from to by about as into like through after over between out against during without before "
    "under around among than per"
)
CONJUNCTIONS = _words(
    "and or but if because while although though when so that which who whom where whose since until till once whether "
    "unless"
)
PRONOUNS = _words("i you he she it we they me him us them myself itself someone anyone everyone there")
AUXILIARIES = _words(
    "is are was were be been being am 's 're has have had do does did will would can could may might must should "
    "isn't aren't wasn't weren't don't doesn't didn't won't wouldn't can't couldn't shouldn't hasn't haven't hadn't "
    "ca wo n't i'm it's that's i've i'd i'll you'll you're they're we're he's she's there's let"
)
ADVERBS = _words(
    "not very really so too extremely super quite pretty incredibly absolutely also just only even still again never "
    "always ever now then here there well much more most less least enough almost already soon often perhaps maybe "
    "however yet far away back up down off together away instead rather especially actually definitely probably "
    "almost easily highly such"
)
INTENSIFIERS = _words("very really so too extremely super quite incredibly absolutely fairly pretty")
VAGUE = _words(
    "thing things lot lots way ways time times day days week weeks month months year years hour hours minute minutes "
    "people person bit little part kind sort type number couple few many other others same first second third last "
    "next two three four five ten end point fact reason problem problems idea money review reviews everything "
    "anything something nothing all own new old more less good one ones today night event amazon much long little "
    "able want need sure try use used using get got go going make made buy bought say said think know don did "
    "want's star stars rating thanks thank plus what how why yes okay ok "
    "im ive dont doesnt didnt cant wont isnt wasnt"
)
"""Words that stand where nouns stand and name no feature of anything."""

OPINIONS = _words(
    "good great nice excellent perfect perfectly amazing awesome beautiful beautifully gorgeous lovely fantastic "
    "wonderful fabulous stunning flattering comfortable comfy cute elegant classy sexy pretty happy pleased satisfied "
    "love loved loves liked likes enjoy enjoyed recommend best better easy easier solid sturdy durable strong "
    "reliable accurate clear clean crisp bright light lightweight soft smooth quiet fast quick quickly cheap expensive "
    "affordable reasonable worth impressed impressive superb outstanding decent fine cool fun useful handy convenient "
    "simple intuitive bad poor poorly terrible horrible awful disappointing disappointed disappoint hate hated dislike "
    "annoying ugly weak flimsy uncomfortable difficult hard heavy bulky slow loud noisy tight loose itchy small large "
    "big huge tiny short long thin thick wrong useless broken defective faulty broke fails failed worse worst problem "
    "problems issue issues complaint complaints compliment compliments fits works worked true pleasant unique "
    "stylish sleek versatile high low problem-free well weird strange dull rough stiff warm cold rich sharp blurry "
    "favorite superior inferior sweet adorable fresh tasty delicious friendly helpful rude generous spacious"
)
"""Words that say what somebody thinks, as a start; more are found behind intensifiers."""

CLOSED = DETERMINERS | PREPOSITIONS | CONJUNCTIONS | PRONOUNS | AUXILIARIES | ADVERBS
"""Words that end a noun phrase."""
