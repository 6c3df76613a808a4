"""Write the generated pages of the reference (make reference)."""

from __future__ import annotations

from pathlib import Path

from . import api, cli, errors

PAGES = {"api.md": api.page, "cli.md": cli.page, "errors.md": errors.page}


def main(folder: Path = Path(__file__).parent) -> None:
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")
    print(f"wrote {', '.join(PAGES)} to {folder}")


if __name__ == "__main__":
    main()
