"""Screening: what in a definition speaks to the model instead of describing, hides, or asks for what it should not.

A pure function of the texts and of the rules in `languages/`. It is a second fact beside another, never a verdict: who
knows the rules can write around them, and honest texts can hit one.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import Final, NamedTuple

from playbooks.screening import concealed, markup, reading
from playbooks.screening.fields import MOST_CHARACTERS, MOST_FIELDS, Field, fields
from playbooks.screening.markup import Concealment
from playbooks.screening.matching import Words
from playbooks.screening.places import places
from playbooks.screening.reading import STOP, Reading, Token
from playbooks.screening.respelled import respelled
from playbooks.screening.rules import Compiled, Kind, RuleLanguage, Rules, Weight, load
from playbooks.strict import Line, Prose, Strict
from playbooks.text.escaping import printable

_MOST_HITS: Final = 3
"""Of one pattern in one definition."""

_EXCERPT: Final = 200
_CHOPPED: Final = 6
"""Words up to which a text may consist of ends of sentences."""

_NO_PROSE: Final = (".type", ".format", ".$ref", ".pattern")
"""Texts of a schema that stand between what a model reads in a row."""

_DEEPEST: Final = 2
"""Layers of encoding that are taken off."""


class Hit(Strict):
    """Where a rule found what it looks for.

    Args:
        kind: what is wrong.
        weight: whether it counts alone or beside a hit of another kind.
        rule: the rule's id.
        language: that the rule reads.
        path: which text of the definition, as `inputSchema.properties.note.description`.
        start: where it begins in that text, in characters.
        end: where it ends.
        excerpt: what stands there, or what it hides; invisible characters written out. Hostile.
        means: what it means, in English.
    """

    kind: Kind
    weight: Weight
    rule: Line
    language: RuleLanguage
    path: Prose
    start: int
    end: int
    excerpt: Prose
    means: Line


def screen(definition: Mapping[str, object]) -> tuple[Hit, ...]:
    """Return what the rules find in a definition, whatever text of it that stands in.

    Args:
        definition: a tool, prompt, resource or `{"instructions": …}`, as JSON has it.
    """
    return screen_fields(fields(definition))


def screen_text(text: str, rules: Rules | None = None) -> tuple[Hit, ...]:
    """Return what the rules find in one text, as an answer of a tool."""
    return screen_fields([Field("text", text)], rules)


def screen_fields(texts: Iterable[Field], rules: Rules | None = None) -> tuple[Hit, ...]:
    """Return what the rules find in texts, in the order of the texts.

    The time is proportional to the texts' length; of more than `MOST_FIELDS` texts or `MOST_CHARACTERS` characters the
    rest is not read, which is a hit of its own.

    Args:
        texts: the texts of one definition.
        rules: other rules than those of this version.
    """
    waiting = iter(texts)
    first = tuple(islice(waiting, _FEW))
    if rules is None and len(first) < _FEW and sum(len(one.text) for one in first) <= _SHORT:
        return _remembered(first)
    return _screened(chain(first, waiting), rules or load())


_FEW: Final = 100
_SHORT: Final = 10_000
"""Texts and their characters up to which what was found is remembered: one definition is looked at again and again."""


@lru_cache(maxsize=256)
def _remembered(texts: tuple[Field, ...]) -> tuple[Hit, ...]:
    return _screened(texts, load())


def _screened(texts: Iterable[Field], rules: Rules) -> tuple[Hit, ...]:
    screening = _Screening(rules)
    left = MOST_CHARACTERS
    for count, one in enumerate(texts):
        if count >= MOST_FIELDS or left <= 0:
            screening.unread(one, 0)
            break
        screening.take(one._replace(text=one.text[:left]))
        if len(one.text) > left:
            screening.unread(one, left)
            break
        left -= len(one.text)
    return screening.hits()


def poisoned(hits: Iterable[Hit]) -> bool:
    """Whether hits suffice to say that a definition tries to command the model: one that counts alone, or two rules."""
    together: set[str] = set()
    for hit in hits:
        if hit.weight is Weight.ALONE:
            return True
        together.add(hit.rule)
    return len(together) > 1


class _Piece(NamedTuple):
    """A stretch of text that is read on its own: a field, or what was taken out of one.

    Args:
        order: of its field among the fields.
        field: which it stands in.
        said: its words, with where they stand in the field's text.
        encoded: whether it was written in an encoding.
    """

    order: int
    field: Field
    said: tuple[Token, ...]
    encoded: bool


class _Screening:
    """The screening of one definition: its words are matched all at once."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.found: list[tuple[int, Hit]] = []
        self.pieces: list[_Piece] = []
        self.words: list[str] = []
        self.places: list[tuple[str, int, int]] = []
        # The piece that a word is of, by the index of each piece's first word.
        self.begins: list[int] = []
        self.order = 0
        # What is read out of texts is read within a bound of its own.
        self.left = MOST_CHARACTERS
        # Words of all fields in a row, as a model has them before it: piece, and word of that piece.
        self.row: list[tuple[int, int]] = []
        self.row_places: list[tuple[str, int, int]] = []

    def take(self, one: Field) -> None:
        """Read one text."""
        self.order += 1
        self._read(one, one.text, None, 0, encoded=False)

    def unread(self, one: Field, start: int) -> None:
        """Note that a text was too long from here on."""
        self.order += 1
        self._say_unread(one, start, len(one.text))

    def _say_unread(self, one: Field, start: int, end: int) -> None:
        unread = Hit(
            kind=Kind.UNREAD,
            weight=Weight.TOGETHER,
            rule="any-unread",
            language=RuleLanguage.ANY,
            path=one.path,
            start=start,
            end=end,
            excerpt=printable(one.text[start : start + _EXCERPT], _EXCERPT),
            means="Of this the definition holds too much to be screened.",
        )
        if (self.order, unread) not in self.found[-1:]:
            self.found.append((self.order, unread))

    def hits(self) -> tuple[Hit, ...]:
        """Return what the rules find in all that was read."""
        words = Words(self.words, self.rules.lexicon, self.places)
        for compiled in self.rules.all:
            for begin, end in _matches(compiled, words):
                if not any(words.covers(one, begin) for one in compiled.unless):
                    self._told(compiled, begin, end)
        self._across()
        return tuple(hit for _, hit in sorted(self.found, key=lambda item: (item[0], item[1].start)))

    def _read(self, one: Field, text: str, span: tuple[int, int] | None, depth: int, *, encoded: bool) -> None:
        """Read a text, or what was taken out of a stretch of one.

        Args:
            one: the field.
            text: what to read.
            span: the stretch of the field that it was taken out of; None for the field's own text.
            depth: how many layers were taken off.
            encoded: whether one of them was an encoding.
        """
        if span is not None:
            if len(text) > self.left:
                self._say_unread(one, *span)
                return
            self.left -= len(text)
        unseen = concealed.unseen(text)
        distinct = {item.character for item in unseen}
        for compiled in self.rules.all if unseen else ():
            hers = {character for character in distinct if compiled.rule.has(character)}
            mine = [item for item in unseen if item.character in hers] if hers else []
            if mine:
                names = ", ".join(sorted({f"U+{ord(item.character):04X}" for item in mine})[:8])
                told = concealed.smuggled(mine)
                excerpt = f"{len(mine)} of {names}" + (f", which spell: {told}" if told else "")
                self._hit(compiled, one, span or (mine[0].at, mine[-1].at + 1), excerpt)
        named = one.identifier and span is None
        bare, parts = markup.unmarked(reading.identifier(text) if named else text)
        self._hidden(one, parts, span)
        folded = reading.fold(bare.text)
        whole = (0, len(one.text)) if named else span
        raw = reading.tokens(folded)
        said = tuple(self._placed(token, bare, whole) for token in raw)
        found = [*places(folded, raw, self.rules.literals)]
        if span is None and not one.identifier and not one.path.endswith(_NO_PROSE):
            start = len(self.row)
            self.row += [(len(self.pieces), index) for index in range(len(said))]
            self.row_places += [(name, start + index, length) for name, index, length in found]
        self._append(_Piece(self.order, one, said, encoded), found)
        if sum(token.word == STOP for token in raw) * 3 > len(raw) > _CHOPPED:
            # A sentence for each word or two: read once more without the ends that part them.
            whole_said = tuple(token for token in said if token.word != STOP)
            self._append(_Piece(self.order, one, whole_said, encoded), [])
        if depth >= _DEEPEST:
            return
        # A tag's attributes are no part of the text around it.
        attributes = [part for part in parts if part.how is Concealment.ATTRIBUTE]
        inner = [(part.text, (part.start, part.end), encoded) for part in attributes]
        inner += [(told, (start, end), encoded) for told, start, end in reading.spaced(text)]
        inner += [(told, (start, end), True) for told, start, end in concealed.encoded(text)]
        # Once: a respelling of a respelling would multiply what there is to read.
        again = respelled(text) if depth == 0 else ()
        inner += [(other.text, (0, len(text)), encoded or other.encoded) for other in again]
        if told := concealed.smuggled(unseen):
            inner.append((told, (unseen[0].at, unseen[-1].at + 1), encoded))
        for told, place, coded in inner:
            self._read(one, told, span or place, depth + 1, encoded=coded)

    @staticmethod
    def _placed(token: Token, bare: Reading, span: tuple[int, int] | None) -> Token:
        if span is not None:
            return Token(token.word, *span)
        return Token(token.word, bare.origin[token.start], bare.origin[token.end - 1] + 1)

    def _append(self, piece: _Piece, found: Sequence[tuple[str, int, int]]) -> None:
        first = len(self.words)
        self.begins.append(first)
        self.pieces.append(piece)
        # No phrase reaches from one text into the next.
        self.words += [*(token.word for token in piece.said), STOP]
        self.places += [(name, first + index, length) for name, index, length in found]

    def _across(self) -> None:
        """Look for what begins in one text and goes on in the next; only for what counts alone."""
        if not self.row or self.row[0][0] == self.row[-1][0]:
            return
        spelled = [self.pieces[piece].said[index].word for piece, index in self.row]
        words = Words(spelled, self.rules.lexicon, self.row_places)
        for compiled in self.rules.all:
            if compiled.rule.weight is not Weight.ALONE:
                continue
            for begin, end in _matches(compiled, words):
                (first, index), (last, _) = self.row[begin], self.row[end - 1]
                if first == last or any(words.covers(one, begin) for one in compiled.unless):
                    continue
                piece = self.pieces[first]
                self._hit(compiled, piece.field, (piece.said[index].start, piece.said[-1].end), order=piece.order)

    def _told(self, compiled: Compiled, begin: int, end: int) -> None:
        index = bisect_right(self.begins, begin) - 1
        piece, first = self.pieces[index], self.begins[index]
        span = (piece.said[begin - first].start, piece.said[end - 1 - first].end)
        self._hit(compiled, piece.field, span, order=piece.order)
        if piece.encoded:
            for rule in self.rules.all:
                if rule.rule.decodes:
                    self._hit(rule, piece.field, span, order=piece.order)

    def _hidden(self, one: Field, parts: Sequence[markup.Hidden], span: tuple[int, int] | None) -> None:
        closed = {part.text for part in parts if part.how is Concealment.CLOSING}
        for compiled in self.rules.all if parts else ():
            rule = compiled.rule
            mine = [part for part in parts if part.how is rule.markup]
            if rule.markup is Concealment.TAG:
                mine = [part for part in mine if _speaks(part.text, rule.tags, closed)]
            else:
                mine = [part for part in mine if len(part.text.split()) >= rule.words]
            for part in mine[:_MOST_HITS]:
                shown = part.text if rule.markup is not Concealment.TAG else f"<{part.text}>"
                self._hit(compiled, one, span or (part.start, part.end), shown)

    def _hit(
        self,
        compiled: Compiled,
        one: Field,
        span: tuple[int, int],
        excerpt: str | None = None,
        order: int | None = None,
    ) -> None:
        shown = one.text[slice(*span)] if excerpt is None else excerpt
        hit = Hit(
            kind=compiled.rule.kind,
            weight=compiled.rule.weight,
            rule=compiled.rule.id,
            language=compiled.language,
            path=one.path,
            start=span[0],
            end=span[1],
            excerpt=printable(" ".join(shown[: _EXCERPT * 4].split()), _EXCERPT),
            means=compiled.rule.means,
        )
        entry = (self.order if order is None else order, hit)
        if entry not in self.found[-_MOST_HITS * 4 :]:
            self.found.append(entry)


def _speaks(name: str, tags: Collection[str], closed: Collection[str]) -> bool:
    """Whether a tag is one of these, or is closed and has one of these words in its name: `<user>` is a placeholder."""
    return name in tags or (name in closed and not set(name.replace("-", "_").split("_")).isdisjoint(tags))


def _matches(compiled: Compiled, words: Words) -> list[tuple[int, int]]:
    """Return where a rule's patterns match, those that overlap as one."""
    # Nearly every pattern needs a word that is not there.
    possible = [one for one in compiled.patterns if words.may_have(one)]
    return _merged(span for one in possible for span in words.find(one, _MOST_HITS)) if possible else []


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans in order, those that overlap as one."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged
