"""Checks each link of the built site that stays within it: `nox -s docs` runs this after the build.

It needs no network: links to other sites are left alone. It also looks into the index of the search.
"""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """Collects what a page links to, and what can be linked to in it."""

    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors = {""}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep links and anchors."""
        for name, value in attrs:
            if value and name == "id":
                self.anchors.add(value)
            elif value and (tag, name) in {
                ("a", "href"),
                ("img", "src"),
                ("link", "href"),
                ("script", "src"),
            }:
                self.links.add(value)


def main(site: Path) -> None:
    """Print each broken link, and end with 1 if there is one."""
    pages = {path.resolve(): Page() for path in site.rglob("*.html")}
    for path, page in pages.items():
        page.feed(path.read_text(encoding="utf-8"))
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith("#furo"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                broken.append(f"{path.name}: {link} does not exist")
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                broken.append(f"{path.name}: {link} has no such place")
    found = re.fullmatch(r"Search\.setIndex\((.*)\)", (site / "searchindex.js").read_text(encoding="utf-8"))
    names = json.loads(found[1])["docnames"] if found else []
    missing = {str(path.relative_to(site).with_suffix("")) for path in site.glob("how-to/*.html")} - set(
        names
    )
    broken += [f"the search does not know {name}" for name in sorted(missing)]
    print(*broken, sep="\n", end="\n" if broken else "")
    print(
        f"{len(pages)} pages, {sum(len(page.links) for page in pages.values())} links, {len(broken)} broken"
    )
    sys.exit(bool(broken))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
