"""Who made an asset and under what licence: the record every pack entry carries, and the rule for training.

Training content is CC0, public domain, CC-BY, CC-BY-SA or permissive (MIT/Expat, BSD, ISC, zlib, Apache). Content that
is only under the GPL, or under terms nobody wrote down, serves evaluation alone: `Credit.train_ok` is False.
Debian's machine-readable copyright files give the licence of each file (DEP-5, https://dep-team.pages.debian.net/deps/dep5/).
"""

import re
from dataclasses import asdict, dataclass
from fnmatch import translate


@dataclass(frozen=True)
class Credit:
    """Where an asset comes from: registry `package` and `version`, `file` inside it, `author`, `licence` as stated."""

    package: str
    version: str
    file: str
    author: str
    licence: str

    @property
    def train_ok(self) -> bool:
        """True if the licence allows the asset to be trained on under this project's rule."""
        return trainable(self.licence)

    def record(self, key: str) -> dict[str, object]:
        """The line of `credits.json` for the asset `key`."""
        return {"key": key, **asdict(self), "train_ok": self.train_ok}


_OPEN = re.compile(
    r"cc-?0|cc0|public.?domain|^pd\b|unlicense|wtfpl|mit\b|expat|bsd|isc\b|zlib|apache|"
    r"(cc|creative commons).{0,4}(by|attribution)"
)
_CLOSED = re.compile(r"\bnc\b|non.?commercial|\bnd\b|no.?deriv|unknown|sampling")


def trainable(licence: str) -> bool:
    """True if `licence` is open enough to train on.

    "A or B" is open if either is (the licensee chooses); "A and B" (also "A, B" and "A + B") only if both are.
    """
    alternatives = re.split(r"\s+or\s+|\s*\|\s*", licence.strip().lower())
    return any(_all_open(alternative) for alternative in alternatives)


def _all_open(licence: str) -> bool:
    parts = [part for part in re.split(r"\s+and\s+|\s*,\s*|\s+\+\s+|\s*&\s*", licence) if part]
    return bool(parts) and all(_OPEN.search(part) and not _CLOSED.search(part) for part in parts)


def licence_class(licence: str) -> str:
    """The family of `licence` for summaries: "CC0/PD", "CC-BY", "CC-BY-SA", "permissive" or "GPL/other"."""
    text = licence.lower()
    if not trainable(licence):
        return "GPL/other"
    if re.search(r"by-sa|share.?alike", text):
        return "CC-BY-SA"
    if re.search(r"(cc|creative commons).{0,4}(by|attribution)", text):
        return "CC-BY"
    return "CC0/PD" if re.search(r"cc-?0|public.?domain|^pd\b", text) else "permissive"


@dataclass(frozen=True)
class CopyrightFile:
    """A parsed Debian copyright file: (pattern, author, licence) stanzas in file order; the last match wins."""

    stanzas: tuple[tuple[re.Pattern[str], str, str], ...]

    def look_up(self, path: str) -> tuple[str, str]:
        """(author, licence) of the source file `path`; ("", "unknown") where no stanza names it."""
        found = ("", "unknown")
        for pattern, author, licence in self.stanzas:
            if pattern.match(path):
                found = (author, licence)
        return found


def parse_copyright(text: str) -> CopyrightFile:
    """Parse a DEP-5 copyright file. Paragraphs without a `Files` field (header, licence texts) are left out."""
    stanzas = []
    for paragraph in re.split(r"\n\s*\n", text):
        fields: dict[str, list[str]] = {}
        name = ""
        for line in paragraph.splitlines():
            head = re.match(r"([A-Za-z-]+):(.*)", line)
            if head:
                name = head[1].lower()
                fields[name] = [head[2].strip()]
            elif name:
                fields[name].append(line.strip())
        if "files" not in fields:
            continue
        author = " ".join(part for part in fields.get("copyright", []) if part)
        licence = fields.get("license", ["unknown"])[0]
        for glob in " ".join(fields["files"]).split():
            stanzas.append((re.compile(translate(glob)), author, licence))
    return CopyrightFile(tuple(stanzas))
