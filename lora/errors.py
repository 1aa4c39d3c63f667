"""Every error that a user may see, in one tree. The message is the whole of it: one sentence, no path, no traceback.

    AtelierError
    ├── InvalidRequest      a value of a request is not allowed
    │   ├── Several             more than one thing is wrong
    │   └── Described           the value is not shown but described
    │       ├── TooLong             there is too much of it
    │       └── InvalidOwner        what should be an owner's secret is none
    ├── AdapterError        an adapter cannot be used
    │   ├── UnknownAdapter      no adapter of that id
    │   ├── UnreadableAdapter   the file is not a readable adapter
    │   ├── UnfitAdapter        the adapter does not belong on this model
    │   ├── OutOfSpace          it is more than is taken: the file, their number, or all of them together
    │   └── HubError            the Hugging Face Hub does not give it, or not now
    ├── InvalidSettings     an environment variable has a value that is not allowed
    ├── ModelError          the base model cannot be loaded
    ├── PaintingFailed      the run itself came to no picture: memory, or numbers out of range
    ├── HistoryError        the history cannot be opened or read
    │   ├── NotKept             a picture could not be kept
    │   └── UnknownPicture      no such picture of this owner
    ├── StylesError         the kept styles cannot be opened, read or changed
    │   ├── StyleNotKept        a style could not be kept
    │   └── UnknownStyle        no such style of this owner
    ├── TrainingError       trainings cannot be opened, read or written
    │   └── UnknownTraining     no such training of this owner
    ├── UnknownJob          no such job of this owner
    ├── Busy                too many are waiting
    └── Unforeseen          anything else, which has been logged

Errors of other libraries are translated where they enter; what is not in this tree is a bug and shown as such.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class AtelierError(Exception):
    """Base of all errors whose message is meant for the user. Pickles: it crosses from a worker as it is."""

    def __reduce__(self):
        """Whatever it was made of, its sentence and what it knows besides."""
        return _again, (type(self), str(self), self.__dict__)


def _again(kind: type[AtelierError], sentence: str, known: dict) -> AtelierError:
    error = kind.__new__(kind, sentence)
    error.__dict__ |= known
    return error


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """What a command cannot do ends it with its sentence on standard error and exit code 2, without a traceback."""
    try:
        yield
    except AtelierError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


class InvalidRequest(AtelierError):
    """A value of a request is not allowed. Names the field, the value, what is allowed and what to do."""

    def __init__(self, field: str, value: object, allowed: str):
        super().__init__(f"{field} is {shown(value)}, but must be {allowed}.")
        self.field = field

    @property
    def problems(self) -> Sequence["InvalidRequest"]:
        """Each thing that is wrong."""
        return (self,)


class Described(InvalidRequest):
    """A value that is not to be shown, or says nothing: `what` says in words what it is."""

    def __init__(self, field: str, what: str, allowed: str):
        AtelierError.__init__(self, f"{field} is {what}, but must be {allowed}.")
        self.field = field


class Untold(Described):
    """A picture that does not say how it was made: it can still be one to start from. `marks` are sentences on what
    else it says.
    """

    def __init__(self, field: str, marks: Sequence[str] = ()):
        says = "a picture that does not say how it was made"
        super().__init__(field, says, "one that does, as A1111 writes it")
        self.args = (" ".join([str(self), *marks]),)


class Several(InvalidRequest):
    """More than one thing is wrong: a sentence for each of `all` of them."""

    def __init__(self, problems: Sequence[AtelierError]):
        AtelierError.__init__(self, " ".join(dict.fromkeys(map(str, problems))))
        # One of them may be several itself.
        flat = (each for one in problems for each in (one.all if isinstance(one, Several) else (one,)))
        self.all: tuple[AtelierError, ...] = tuple(flat)
        self.field = next((each.field for each in self.all if isinstance(each, InvalidRequest)), "")

    @property
    def problems(self) -> Sequence[InvalidRequest]:
        """Those of them that are about a value."""
        return tuple(each for each in self.all if isinstance(each, InvalidRequest))


def together(problems: Sequence[AtelierError]) -> AtelierError:
    """One error that says all of them; the only one as it is."""
    return problems[0] if len(problems) == 1 else Several(problems)


class TooLong(Described):
    """A value is well formed, but there is too much of it: the words say how much."""


class InvalidOwner(Described):
    """What should be an owner's secret is none."""


class AdapterError(AtelierError):
    """An adapter cannot be used."""


class UnknownAdapter(AdapterError):
    """No adapter of that id is known here."""


class UnreadableAdapter(AdapterError):
    """The file is not a readable adapter."""


class UnfitAdapter(AdapterError):
    """The adapter was made for another model."""


class OutOfSpace(AdapterError):
    """A file too large, too many of them, or no room left for it."""


class HubError(AdapterError):
    """The Hugging Face Hub does not give the file, or not now."""


class InvalidSettings(AtelierError):
    """An environment variable has a value that is not allowed."""


class ModelError(AtelierError):
    """The base model cannot be loaded."""


class ClusterError(AtelierError):
    """There is no cluster where there should be one, or it does not begin what it should."""


class PaintingFailed(AtelierError):
    """The run came to no picture."""


class HistoryError(AtelierError):
    """The history cannot be opened or read."""


class NotKept(HistoryError):
    """A picture could not be kept in the history."""


class UnknownPicture(HistoryError):
    """No such picture of this owner; the same whether it is another's or nobody's."""


class StylesError(AtelierError):
    """The styles that visitors keep cannot be opened, read or changed."""


class StyleNotKept(StylesError):
    """A style could not be kept: says which quota it is above, or what else is wrong, and what can be done."""


class UnknownStyle(StylesError):
    """No such style of this owner; the same whether it is another's or nobody's."""


class TrainingError(AtelierError):
    """The trainings of visitors cannot be opened, read or written."""


class UnknownTraining(TrainingError):
    """No such training of this owner; the same whether it is another's or nobody's."""


class UnknownJob(AtelierError):
    """No such job of this owner; the same whether it is another's or nobody's."""


class Busy(AtelierError):
    """Too many requests are waiting; says when to come back."""


class Unforeseen(AtelierError):
    """What nobody foresaw: its caller is told no more than that it has been logged. `kind` is the error's class."""

    def __init__(self, error: BaseException):
        super().__init__("Something went wrong here; it has been logged.")
        self.kind = type(error).__name__


def shown(value: object, most: int = 40) -> str:
    """A value as it may stand in a message: short, on one line, nothing unprintable."""
    try:
        text = "empty" if value is None or value == "" else repr(value[:most] if isinstance(value, str) else value)
    # Python writes neither what is nested deeper than it calls nor a whole number of thousands of digits.
    except (RecursionError, ValueError):
        text = "too deep or too long to show"
    text = "".join(c if c.isprintable() else "?" for c in text[: most + 1])
    return text if len(text) <= most else text[: most - 1] + "…"
