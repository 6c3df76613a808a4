"""Docstrings as Markdown. They are plain prose, with lists, indented programs, and tables of names that stand two blanks before their meaning."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from textwrap import dedent

MARK = re.compile(r"(?<!\w)(\*\w[^*\n]*\w\*)(?!\w)|\*|(?<!\w)_+|_+(?!\w)")
"""What Markdown would take for a mark; *this* may be one."""
NAME = re.compile(r"\b[A-Z]\w*[a-z][A-Z]\w*|(?:(?<=aise )|(?<=aises ))[A-Z]\w+")
"""A word that looks like nothing but a name: with a capital inside, or as what is raised."""
MEANING = re.compile(r"(\S(?:.*?\S)?) {2,}(\S.*)")


def markdown(doc: str, links: Mapping[str, str] | None = None, declared: Mapping[str, str] | None = None) -> str:
    """`links` says where names lead that stand in the text, as a word or as code; `declared` how names of a table are declared."""
    return "\n\n".join(_paragraph(text, links or {}, declared or {}) for text in paragraphs(doc))


def paragraphs(doc: str) -> list[str]:
    return [text for text in re.split(r"\n[ ]*\n", doc.strip("\n")) if text.strip()]


def meanings(paragraph: str) -> list[str]:
    """The names of a table; none if it is something else."""
    lines = paragraph.splitlines()
    if lines[0].startswith(" ") or not all(MEANING.fullmatch(line) or line.startswith("  ") for line in lines):
        return []
    return [name for line in lines if (found := MEANING.fullmatch(line)) for name in found[1].split(", ")]


def cell(text: str) -> str:
    """A text in a table: on one line, without anything that would end the cell."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def _paragraph(text: str, links: Mapping[str, str], declared: Mapping[str, str]) -> str:
    if meanings(text):
        return "\n".join(_meaning(line, links, declared) for line in text.splitlines())
    if all(line.startswith("  ") for line in text.splitlines()):
        code = dedent(text)
        return f"```{'py' if _is_python(code) else 'text'}\n{code}\n```"
    return prose(re.sub(r"(?m)^(?!- |  )(.+)\n(?=- )", r"\1\n\n", text), links)  # a list stands apart


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def _meaning(line: str, links: Mapping[str, str], declared: Mapping[str, str]) -> str:
    if not (found := MEANING.fullmatch(line)):
        return f"  {prose(line.strip(), links)}"
    names = ", ".join(name if name.startswith("`") else f"`{declared.get(name, name)}`" for name in found[1].split(", "))
    return f"- {names}: {prose(found[2], links)}"


def prose(text: str, links: Mapping[str, str]) -> str:
    """Marks that mean something to Markdown, but not to a docstring, stand for themselves; code is left alone."""
    parts = re.split(r"(`+[^`]+`+)", text)
    return "".join(_code(part, links) if part.startswith("`") else _words(part, links) for part in parts)


def _code(text: str, links: Mapping[str, str]) -> str:
    name = text.strip("`")
    common = name.isalpha() and name.islower()  # `row` may be an argument
    return f"[{text}]({links[name]})" if name in links and not common else text


def _words(text: str, links: Mapping[str, str]) -> str:
    def name(word: re.Match[str]) -> str:
        return f"[{word[0]}]({links[word[0]]})" if word[0] in links else word[0]

    text = MARK.sub(lambda mark: mark[1] or "".join(f"\\{each}" for each in mark[0]), text).replace("<", "&lt;")
    return NAME.sub(name, text)
