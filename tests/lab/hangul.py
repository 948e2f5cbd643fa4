"""Whether this machine has a font with Hangul; `python -m tests.lab.hangul` tells the Makefile by its exit status."""

import sys

import typst

_PAGE = '#set document(title: "x", date: none)\n#set text(lang: "ko")\n한국어'


def found() -> bool:
    """Return whether Typst, under a standard that refuses what no font has, sets Hangul here."""
    try:
        typst.compile(_PAGE.encode(), format="pdf", pdf_standards=["ua-1"])
    except typst.TypstError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(not found())
