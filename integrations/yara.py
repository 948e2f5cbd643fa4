"""YARA rules of the installation's own, beside those of the screening: read strictly, and bounded where they look."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from integrations.hostile import printable
from playbooks.errors import Misconfigured, Transient

FOLDER: Final = "screening"
"""Of the configuration folder: its `*.yar` and `*.yara` files are the rules."""

Matched = Callable[[bytes], tuple[str, ...]]
"""Returns the names of the rules that match, sorted; raises `Transient` where that takes too long."""

_LONGEST: Final = 1024 * 1024
_WITHIN: Final = 5
"""Seconds for one text: whoever writes it chooses how much work it is."""


def files(folder: Path) -> tuple[Path, ...]:
    """Return the rule files of a configuration.

    Args:
        folder: the configuration.
    """
    return tuple(sorted(path for kind in ("yar", "yara") for path in (folder / FOLDER).glob(f"**/*.{kind}")))


def matching(folder: Path) -> Matched:
    """Return what says which rules of a configuration match a text; none do where it has none.

    Args:
        folder: the configuration.

    Raises:
        Misconfigured: a rule cannot be read, with file and line.
    """
    found = files(folder)
    if not found:
        return lambda _: ()
    import yara_x  # noqa: PLC0415  # most have no rules of their own, and its library is large

    compiler = yara_x.Compiler()
    # A rule file says what to look for, and not what else of this machine to read.
    compiler.enable_includes(yes=False)
    for path in found:
        try:
            text = path.read_text(encoding="utf-8")
            if len(text) > _LONGEST:
                raise Misconfigured(f"it is longer than {_LONGEST} characters", file=str(path))
            # Rules of two files may be called the same.
            compiler.new_namespace(path.relative_to(folder / FOLDER).as_posix())
            compiler.add_source(text, origin=path.name)
        except (OSError, UnicodeDecodeError) as exc:
            raise Misconfigured("it cannot be read", file=str(path)) from exc
        except yara_x.CompileError as exc:
            raise Misconfigured(printable(" ".join(str(exc).split()), 500), file=str(path)) from exc
    rules = compiler.build()

    def matched(text: bytes) -> tuple[str, ...]:
        scanner = yara_x.Scanner(rules)
        scanner.set_timeout(_WITHIN)
        try:
            names = {str(one.identifier) for one in scanner.scan(text).matching_rules}
        except (yara_x.ScanError, yara_x.TimeoutError) as exc:
            raise Transient(f"YARA rules: {type(exc).__name__} after {_WITHIN} s at most") from exc
        return tuple(sorted(names))

    return matched
