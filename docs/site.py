"""Build the site from docs/ with MkDocs (make docs). It fails on what leads nowhere: a link, an anchor, a page, an entry of the navigation.

The pages are read in the repository, too, and link to what lies beside docs/: pictures, sources, the read-me. So a copy is staged in which all of
these have a place of their own, and the links are turned to it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
STAGE = ROOT / "build" / "site-src"
SITE = ROOT / "site"
TOP = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
"""Pages that stand at the top of the repository, where one looks for them."""
COPIED = {".svg", ".png", ".css"}
LANGUAGES = {".py": "python", ".json": "json", ".toml": "toml"}

FENCED = r"^(?P<fence>```+|~~~+).*?^(?P=fence)[ ]*$"
CODE = FENCED + r"|(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)"
LINK = re.compile(CODE + r"""|(?P<before>\]\(|\]\[|\b(?:src|srcset|href)=")(?P<to>[^])"\s]+)""", re.MULTILINE | re.DOTALL)
"""Where a link leads, skipping code. A reference, [text][name], leads nowhere: links are written where they stand."""
HEADING = re.compile(FENCED + r"|^#+ (?P<text>.*?)$", re.MULTILINE | re.DOTALL)
FOREIGN = re.compile(r"""<(?:script|img|iframe|source|link)\b[^>]*\b(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)|url\(["']?((?:https?:)?//[^"')]+)""")
"""What a browser would fetch from another host by itself."""


class Link(NamedTuple):
    page: Path
    to: str

    @property
    def inside(self) -> bool:
        return not re.match(r"[a-z]+:", self.to)

    @property
    def anchor(self) -> str:
        return self.to.partition("#")[2]

    @property
    def target(self) -> Path:
        path = self.to.partition("#")[0]
        return Path(os.path.normpath(self.page.parent / path)) if path else self.page

    @property
    def leads_somewhere(self) -> bool:
        return self.target.exists() and (not self.anchor or self.anchor in anchors(self.target))


def pages(root: Path = ROOT) -> list[Path]:
    """All that is written to be read."""
    return [*(root / name for name in TOP if (root / name).exists()), *sorted((root / "docs").rglob("*.md"))]


def links(page: Path) -> Iterator[Link]:
    """Those of a page that stay within the repository."""
    for found in LINK.finditer(page.read_text(encoding="utf-8")):
        if found["to"] and (link := Link(page, found["to"])).inside:
            yield link


def anchor(heading: str) -> str:
    """As forges name it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """Those of the headings of a page."""
    return {anchor(found["text"]) for found in HEADING.finditer(page.read_text(encoding="utf-8")) if found["text"]}


def place(path: Path, root: Path) -> Path:
    """Where on the site a file of the repository is found, or a folder of it."""
    inside = path.relative_to(root)
    if str(inside) in (*TOP, "LICENSE"):
        return Path("project", inside.with_suffix(".md"))
    if path.suffix in COPIED or (path.suffix == ".md" and inside.parts[0] == "docs"):
        return inside.relative_to("docs") if inside.parts[0] == "docs" else inside
    return Path("source", f"{inside}.md")


def stage(path: Path, root: Path = ROOT, into: Path = STAGE) -> Path:
    """Give a file its place, and whatever it links to; say where that is."""
    at = into / place(path, root)
    if at.exists():
        return at
    at.parent.mkdir(parents=True, exist_ok=True)
    at.touch()

    def linked(target: Path) -> str:
        return Path(os.path.relpath(stage(target, root, into), at.parent)).as_posix()

    def turned(found: re.Match[str]) -> str:
        if found["ticks"] and found.string.startswith("|", found.string.rfind("\n", 0, found.start()) + 1):
            return found[0].replace(r"\|", "|")  # in a table forges want it, and MkDocs shows it
        if not found["to"] or not (link := Link(path, found["to"])).inside or link.to.startswith("#"):
            return found[0]
        return found["before"] + linked(link.target) + (f"#{link.anchor}" if link.anchor else "")

    if path.suffix in COPIED:
        shutil.copyfile(path, at)
    elif path in pages(root):
        at.write_text(LINK.sub(turned, path.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        head = f"---\nsearch: {{exclude: true}}\nhide: [toc]\n---\n# {path.relative_to(root)}\n\n"
        if path.is_dir():
            body = "\n".join(f"- [{child.name}]({linked(child)})" for child in sorted(path.iterdir()) if child.is_file())
        else:
            body = f"``````{LANGUAGES.get(path.suffix, 'text')}\n{path.read_text(encoding='utf-8')}\n``````"
        at.write_text(head + body + "\n", encoding="utf-8")
    return at


def foreign(site: Path = SITE) -> Iterator[str]:
    """What the pages would fetch from another host."""
    for path in sorted([*site.rglob("*.html"), *site.rglob("*.css")]):
        for found in FOREIGN.finditer(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)}: {found[1] or found[2]}"


def build() -> list[str]:
    """Stage and build the site; say what is wrong with it."""
    if nowhere := [f"{link.page.relative_to(ROOT)}: {link.to} leads nowhere" for page in pages() for link in links(page) if not link.leads_somewhere]:
        return nowhere
    shutil.rmtree(STAGE, ignore_errors=True)
    for path in [*pages(), ROOT / "docs" / "site.css"]:
        stage(path)
    # not --quiet: that hides the warnings from --strict, too
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(ROOT / "docs" / "mkdocs.yml")]
    built = subprocess.run(command, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False)
    if built.returncode:
        return [built.stdout + built.stderr]
    return [f"{stranger} comes from another host" for stranger in foreign()]


def main() -> int:
    if wrong := build():
        print("\n".join(wrong), file=sys.stderr)
        return 1
    print(f"wrote {SITE.relative_to(ROOT)}/index.html; to search in it: python3 -m http.server --directory {SITE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
