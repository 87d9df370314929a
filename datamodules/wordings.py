"""How the properties of generated graphs are asked about, in CSQA's manner.

A clause follows the thing asked for, "Which city …", and has one gap for the thing given:

    {}          the gap: a name, "that person", "Ann or Bob", "atleast 3 people"
    [is|are]    agrees with what is asked for; [won|won|win] adds the base form of a past tense
    <was|were>  agrees with the gap

So "<was|were> {} born in" asks for the object of birthplace, "[was|were] born in {}" for its subject, and both give the
yes-no question "Was Ann born in Rome ?" by moving the verb.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from datamodules.synthetic_graph import Relation

NOUNS: Mapping[str, tuple[str, str]] = {  # class -> one, several
    "person": ("person", "people"),
    "country": ("country", "countries"),
    "city": ("city", "cities"),
    "river": ("river", "rivers"),
    "lake": ("lake", "lakes"),
    "film": ("film", "films"),
    "album": ("album", "albums"),
    "book": ("book", "books"),
    "company": ("company", "companies"),
    "university": ("university", "universities"),
    "sport": ("sport", "sports"),
    "language": ("language", "languages"),
    "occupation": ("occupation", "occupations"),
    "award": ("award", "awards"),
}


@dataclass(frozen=True)
class Wording:
    """Clauses that ask for objects and for subjects of one property.

    The first of each asks simple questions and the second the per-entity ones, unless paraphrases are drawn.

    Args:
        wikidata: the property of Wikidata that means the same, whose real wordings may be used.
    """

    objects: tuple[str, ...]
    subjects: tuple[str, ...]
    wikidata: str = ""


def _wording(text: str, wikidata: str = "") -> Wording:
    objects, subjects = ([clause.strip() for clause in half.split(";")] for half in text.split("//"))
    return Wording(tuple(objects), tuple(subjects), wikidata)


# label of the property -> what is asked: objects; objects // subjects; subjects
WORDINGS: Mapping[str, Wording] = {
    label: _wording(text, wikidata)
    for label, wikidata, text in (
        # The 22 of the small graph.
        (
            "birthplace",
            "P19",
            "<was|were> {} born in; [is|are] the birthplace of {} // [was|were] born in {}; [has|have] {} as birthplace",
        ),
        (
            "citizenship",
            "P27",
            "<is|are> {} a citizen of; [is|are] the country of citizenship of {} // [is|are] a citizen of {}; [has|have] {} as country of citizenship",
        ),
        (
            "occupation",
            "P106",
            "<does|do> {} work as; [is|are] the profession of {} // [works|work] as {}; [has|have] {} as profession",
        ),
        (
            "educated at",
            "P69",
            "<was|were> {} educated at; [is|are] the alma mater of {} // [was|were] educated at {}; [has|have] {} as alma mater",
        ),
        (
            "award",
            "P166",
            "<was|were> {} honoured with; [was|were] conferred on {} // [was|were] honoured with {}; [has|have] {} as award received",
        ),
        (
            "language spoken",
            "P1412",
            "<does|do> {} speak; [is|are] spoken by {} // [speaks|speak] {}; [has|have] {} as spoken language",
        ),
        (
            "sport",
            "P641",
            "<does|do> {} practise; [is|are] practised by {} // [practises|practise] {}; [has|have] {} as sport",
        ),
        (
            "director",
            "P57",
            "<was|were> {} directed by; [is|are] the director of {} // [was|were] directed by {}; [has|have] {} as director",
        ),
        (
            "cast",
            "P161",
            "[acted|acted|act] in {}; [is|are] a cast member of {} // <did|did> {} act in; [has|have] {} as cast member",
        ),
        (
            "author",
            "P50",
            "<was|were> {} written by; [is|are] the author of {} // [was|were] written by {}; [has|have] {} as author",
        ),
        (
            "original language",
            "P364",
            "<was|were> {} originally made in; [is|are] the original language of {} // [was|were] originally made in {}; [has|have] {} as original language",
        ),
        (
            "country of origin",
            "P495",
            "<does|do> {} originate from; [is|are] the country of origin of {} // [originates|originate] from {}; [has|have] {} as country of origin",
        ),
        (
            "located in",
            "P17",
            "<is|are> {} located in; [is|are] the location of {} // [is|are] located in {}; [has|have] {} as location",
        ),
        (
            "flows through",
            "P177",
            "<does|do> {} flow through; [is|are] crossed by {} // [flows|flow] through {}; [has|have] {} on the course",
        ),
        (
            "headquarters",
            "P159",
            "<is|are> {} headquartered in; [is|are] the seat of {} // [is|are] headquartered in {}; [has|have] {} as seat",
        ),
        (
            "founded by",
            "P112",
            "<was|were> {} founded by; [is|are] a founder of {} // [was|were] founded by {}; [has|have] {} as founder",
        ),
        (
            "owned by",
            "P127",
            "<is|are> {} owned by; [is|are] an owner of {} // [is|are] owned by {}; [has|have] {} as owner",
        ),
        (
            "diplomatic relation",
            "P530",
            "<does|do> {} have diplomatic relations with; [is|are] a diplomatic partner of {} // [has|have] diplomatic relations with {}; [has|have] {} as diplomatic partner",
        ),
        (
            "twinned",
            "P190",
            "<is|are> {} twinned with; [is|are] a sister city of {} // [is|are] twinned with {}; [has|have] {} as sister city",
        ),
        (
            "official language",
            "P37",
            "<does|do> {} officially use; [is|are] the official language of {} // [officially uses|officially use] {}; [has|have] {} as official language",
        ),
        (
            "publisher",
            "P123",
            "<was|were> {} published by; [is|are] the publisher of {} // [was|were] published by {}; [has|have] {} as publisher",
        ),
        (
            "employer",
            "P108",
            "<is|are> {} employed by; [is|are] the employer of {} // [is|are] employed by {}; [has|have] {} as employer",
        ),
        # 38 more of the large one.
        (
            "place of death",
            "P20",
            "<did|did> {} die in; [is|are] the place of death of {} // [died|died|die] in {}; [has|have] {} as place of death",
        ),
        (
            "residence",
            "P551",
            "<does|do> {} live in; [is|are] the home of {} // [lives|live] in {}; [has|have] {} as home",
        ),
        (
            "spouse",
            "P26",
            "<is|are> {} married to; [is|are] the spouse of {} // [is|are] married to {}; [has|have] {} as spouse",
        ),
        (
            "sibling",
            "P3373",
            "<did|did> {} grow up with; [is|are] a sibling of {} // [grew|grew|grow] up with {}; [has|have] {} as sibling",
        ),
        (
            "child",
            "P40",
            "<is|are> {} a parent of; [is|are] a child of {} // [is|are] a parent of {}; [has|have] {} as child",
        ),
        (
            "student",
            "P802",
            "<did|did> {} teach; [is|are] a student of {} // [taught|taught|teach] {}; [has|have] {} as student",
        ),
        (
            "influenced by",
            "P737",
            "<was|were> {} influenced by; [is|are] an influence on {} // [was|were] influenced by {}; [has|have] {} as influence",
        ),
        (
            "native language",
            "P103",
            "<did|did> {} grow up speaking; [is|are] the mother tongue of {} // [grew|grew|grow] up speaking {}; [has|have] {} as mother tongue",
        ),
        (
            "head of government",
            "P6",
            "<is|are> {} governed by; [is|are] the head of government of {} // [is|are] governed by {}; [has|have] {} as head of government",
        ),
        (
            "head of state",
            "P35",
            "<is|are> {} represented by; [is|are] the head of state of {} // [is|are] represented by {}; [has|have] {} as head of state",
        ),
        (
            "capital",
            "P36",
            "[is|are] the capital of {}; [is|are] the seat of government of {} // <is|are> {} the capital of; [has|have] {} as capital",
        ),
        (
            "shares border with",
            "P47",
            "<does|do> {} share a border with; [is|are] a neighbour of {} // [shares|share] a border with {}; [has|have] {} as neighbour",
        ),
        (
            "trading partner",
            "",
            "<does|do> {} trade with; [is|are] a trading partner of {} // [trades|trade] with {}; [has|have] {} as trading partner",
        ),
        (
            "composer",
            "P86",
            "[composed|composed|compose] the music of {}; [is|are] the composer of {} // <did|did> {} compose; [has|have] {} as composer",
        ),
        (
            "screenwriter",
            "P58",
            "[wrote|wrote|write] the script of {}; [is|are] the screenwriter of {} // <did|did> {} write the script of; [has|have] {} as screenwriter",
        ),
        (
            "producer",
            "P162",
            "<was|were> {} produced by; [is|are] the producer of {} // [was|were] produced by {}; [has|have] {} as producer",
        ),
        (
            "cinematographer",
            "P344",
            "<was|were> {} shot by; [is|are] the cinematographer of {} // [was|were] shot by {}; [has|have] {} as cinematographer",
        ),
        (
            "performer",
            "P175",
            "<was|were> {} performed by; [is|are] the performer of {} // [was|were] performed by {}; [has|have] {} as performer",
        ),
        (
            "translator",
            "P655",
            "<was|were> {} translated by; [is|are] the translator of {} // [was|were] translated by {}; [has|have] {} as translator",
        ),
        (
            "illustrator",
            "P110",
            "<was|were> {} illustrated by; [is|are] the illustrator of {} // [was|were] illustrated by {}; [has|have] {} as illustrator",
        ),
        (
            "filming location",
            "P915",
            "<was|were> {} filmed in; [is|are] the filming location of {} // [was|were] filmed in {}; [has|have] {} as filming location",
        ),
        (
            "narrative location",
            "P840",
            "<does|do> {} take place in; [is|are] the setting of {} // [takes|take] place in {}; [has|have] {} as setting",
        ),
        (
            "main subject",
            "P921",
            "<does|do> {} deal with; [is|are] the main subject of {} // [deals|deal] with {}; [has|have] {} as main subject",
        ),
        (
            "based on",
            "P144",
            "<is|are> {} based on; [is|are] the basis of {} // [is|are] based on {}; [has|have] {} as basis",
        ),
        (
            "distributor",
            "P750",
            "<was|were> {} distributed by; [is|are] the distributor of {} // [was|were] distributed by {}; [has|have] {} as distributor",
        ),
        (
            "record label",
            "P264",
            "<was|were> {} released by; [is|are] the record label of {} // [was|were] released by {}; [has|have] {} as record label",
        ),
        (
            "subsidiary",
            "P355",
            "<does|do> {} control; [is|are] a subsidiary of {} // [controls|control] {}; [has|have] {} as subsidiary",
        ),
        (
            "chief executive",
            "P169",
            "<is|are> {} run by; [is|are] the chief executive of {} // [is|are] run by {}; [has|have] {} as chief executive",
        ),
        (
            "sponsor",
            "P859",
            "<is|are> {} sponsored by; [is|are] a sponsor of {} // [is|are] sponsored by {}; [has|have] {} as sponsor",
        ),
        (
            "chancellor",
            "P1075",
            "<is|are> {} headed by; [is|are] the chancellor of {} // [is|are] headed by {}; [has|have] {} as chancellor",
        ),
        (
            "affiliation",
            "P1416",
            "<is|are> {} affiliated with; [is|are] an affiliate of {} // [is|are] affiliated with {}; [has|have] {} as affiliate",
        ),
        (
            "tributary",
            "P974",
            "[flows|flow] into {}; [is|are] a tributary of {} // <does|do> {} flow into; [has|have] {} as tributary",
        ),
        (
            "outflow",
            "P201",
            "<does|do> {} drain into; [is|are] an outflow of {} // [drains|drain] into {}; [has|have] {} as outflow",
        ),
        (
            "taught in",
            "",
            "<does|do> {} teach in; [is|are] a language of instruction at {} // [teaches|teach] in {}; [has|have] {} as language of instruction",
        ),
        (
            "national sport",
            "",
            "<did|did> {} choose as the national sport; [is|are] the national sport of {} // [is|are] known for {}; [has|have] {} as national sport",
        ),
        (
            "conferred by",
            "P1027",
            "<is|are> {} conferred by; [is|are] a donor of {} // [is|are] conferred by {}; [has|have] {} as donor",
        ),
        (
            "named after",
            "P138",
            "<was|were> {} named after; [is|are] the namesake of {} // [was|were] named after {}; [has|have] {} as namesake",
        ),
        (
            "practised in",
            "",
            "<is|are> {} popular in; [is|are] a stronghold of {} // [is|are] popular in {}; [has|have] {} as stronghold",
        ),
    )
}


@dataclass(frozen=True)
class Shared:
    """Clauses that fit several properties; which one is meant follows from what the graph knows of the entity.

    Args:
        uses: (property's label, whether objects are asked for).
    """

    clauses: tuple[str, ...]
    uses: tuple[tuple[str, bool], ...]


def _shared(clauses: str, objects: str, subjects: str = "") -> Shared:
    uses = [
        (label.strip(), asks)
        for text, asks in ((objects, True), (subjects, False))
        for label in text.split(",")
        if label.strip()
    ]
    return Shared(tuple(clause.strip() for clause in clauses.split(";")), tuple(uses))


_MAKERS = "director, author, founded by"
_PLACES = "birthplace, citizenship, country of origin, located in, headquarters"
_HEADS = "chief executive, chancellor, head of government"
_LANGUAGES = "language spoken, original language, official language, taught in"
_ANY = ", ".join(WORDINGS)

SHARED: tuple[Shared, ...] = (
    _shared("[created|created|create] {}; [is|are] the creator of {}", _MAKERS),
    _shared("[was|were] created by {}; <did|did> {} create", "", _MAKERS),
    _shared("<does|do> {} belong to; <does|do> {} come from", _PLACES),
    _shared("[belongs|belong] to {}; [comes|come] from {}", "", _PLACES),
    _shared("[is|are] in charge of {}; [is|are] responsible for {}", _HEADS),
    _shared("<does|do> {} use; [is|are] used by {}", _LANGUAGES),
    _shared("[uses|use] {}; <is|are> {} used by", "", _LANGUAGES),
    _shared("<is|are> {} associated with; [is|are] associated with {}", _ANY, _ANY),
)

_AGREES = re.compile(r"\[([^|\]]+)\|([^|\]]+)(?:\|([^\]]+))?\]|<([^|>]+)\|([^>]+)>")
_LEADING = re.compile(r"\[([^|\]]+)\|([^|\]]+)(?:\|([^\]]+))?\]\s*(.*)", re.DOTALL)
_BE = {"is", "was", "are", "were"}


def worded(clause: str, asked_several: bool, given_several: bool) -> tuple[str, str]:
    """What stands before and behind the gap, verbs agreeing."""

    def agree(match: re.Match[str]) -> str:
        if match[4] is not None:
            return match[5] if given_several else match[4]
        return match[2] if asked_several else match[1]

    before, _, behind = _AGREES.sub(agree, clause).partition("{}")
    return before.strip(), behind.strip()


def yes_no(clause: str, asked_several: bool, given_several: bool) -> tuple[str, str, str, bool]:
    """The clause as a yes-no question: three pieces of text around two gaps, and whether the first gap is the thing given.

    Of "<was|were> {} born in": ("was", "born in", "", True), and of "[is|are] the birthplace of {}":
    ("is", "the birthplace of", "", False).
    """
    if clause.startswith("<"):
        before, behind = worded(clause, asked_several, given_several)
        return before, behind, "", True
    match = _LEADING.fullmatch(clause)
    if match is None:  # the gap is inside the verb's subject, or the text is fixed
        before, behind = worded(clause, asked_several, given_several)
        return before, behind, "", True
    verb = match[2] if asked_several else match[1]
    if verb.split()[0] in _BE:
        head, rest = verb.split()[0], [*verb.split()[1:], match[4]]
    elif match[3] is not None:
        head, rest = "did", [match[3], match[4]]
    else:
        head, rest = "do" if asked_several else "does", [match[2], match[4]]
    before, behind = worded(" ".join(rest), asked_several, given_several)
    return head, before, behind, False


# The 38 properties that the large graph has beside those of the small one; all have wordings above.
MORE_RELATIONS: tuple[Relation, ...] = tuple(
    Relation(label, tuple(subjects.split("|")), tuple(objects.split("|")), fewest, most)
    for label, subjects, objects, fewest, most in (
        ("place of death", "person", "city", 0, 1),
        ("residence", "person", "city", 1, 2),
        ("spouse", "person", "person", 0, 1),
        ("sibling", "person", "person", 0, 2),
        ("child", "person", "person", 0, 3),
        ("student", "person", "person", 0, 2),
        ("influenced by", "person", "person", 0, 3),
        ("native language", "person", "language", 1, 1),
        ("head of government", "country|city", "person", 1, 1),
        ("head of state", "country", "person", 1, 1),
        ("capital", "country", "city", 1, 1),
        ("shares border with", "country", "country", 1, 6),
        ("trading partner", "country", "country", 1, 8),
        ("composer", "film|album", "person", 1, 2),
        ("screenwriter", "film", "person", 1, 3),
        ("producer", "film|album", "person|company", 1, 2),
        ("cinematographer", "film", "person", 1, 1),
        ("performer", "album", "person", 1, 4),
        ("translator", "book", "person", 0, 2),
        ("illustrator", "book", "person", 0, 2),
        ("filming location", "film", "city|country", 1, 3),
        ("narrative location", "film|book", "city|country", 1, 2),
        ("main subject", "film|book", "person|sport|city", 0, 3),
        ("based on", "film|album", "book", 0, 1),
        ("distributor", "film", "company", 1, 2),
        ("record label", "album", "company", 1, 2),
        ("subsidiary", "company", "company", 0, 3),
        ("chief executive", "company", "person", 1, 1),
        ("sponsor", "university|award", "company", 0, 3),
        ("chancellor", "university", "person", 1, 1),
        ("affiliation", "university", "university|company", 0, 4),
        ("tributary", "river|lake", "river", 0, 3),
        ("outflow", "lake", "river", 0, 2),
        ("taught in", "university", "language", 1, 2),
        ("national sport", "country", "sport", 0, 2),
        ("conferred by", "award", "university|company|country", 1, 2),
        ("named after", "award|university|river", "person", 0, 1),
        ("practised in", "sport", "country", 1, 10),
    )
)
