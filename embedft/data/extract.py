"""Documents out of files as people have them: PDF, HTML, Markdown, reStructuredText, plain text, Python.

Structure comes from well-kept parsers (markdown-it-py, docutils, Beautiful Soup, pypdf). A file that cannot be read is
left out and counted, as rows are.
"""

from __future__ import annotations

import io
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import yaml

from embedft.data.derive import Document, Section, sentences
from embedft.data.faults import Fault, FaultLog, require_few, shortened
from embedft.data.peculiar import CONTROL
from embedft.data.source import read_lines
from embedft.errors import DataError

if TYPE_CHECKING:
    from embedft.data.check import CountTokens

FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.S)
MAX_FILE = 256 * 2**20
HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
# Elements that begin and end a line, as browsers show them.
_OTHER_BLOCKS = """
address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure form
header hgroup hr html legend li main menu ol optgroup option p pre search section select summary table tbody td textarea
tfoot th thead tr ul
"""
BLOCKS = HEADINGS | frozenset(_OTHER_BLOCKS.split())
UNREAD = ("script", "style", "nav", "footer", "noscript", "template", "title")
Parsed = tuple[str, list[Section], list[tuple[str, str]]]


def document_files(path: Path) -> list[Path]:
    """The files that hold a document each: ``path`` itself, or all below it; none where rows are to be read."""
    found = visible_files(path) if path.is_dir() else [path] if path.is_file() else []
    return [file for file in found if file.suffix.lower() in PARSERS]


def visible_files(folder: Path) -> list[Path]:
    """All files below a folder but those that are hidden, or stand in hidden folders, such as ``.venv``."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def parse_files(path: Path, files: Sequence[Path], faults: list[Fault], max_bad: float) -> list[Document]:
    """A document of each file; its id is the file's name below ``path``. A file without text is left out, and not bad.

    Args:
        path: a folder, or the one file.
        files: as `document_files` gives them.
        faults: where to list the files that were left out.
        max_bad: share of files that may be bad, 0..1.

    Raises:
        DataError: more than ``max_bad`` of them cannot be read, or none has a text.
    """
    root = path if path.is_dir() else path.parent
    bad: list[Fault] = []
    empty: list[Fault] = []
    documents = []
    for file in files:
        name = file.relative_to(root).as_posix()
        if file.stat().st_size > MAX_FILE:
            bad.append(Fault(f"larger than {MAX_FILE // 2**20} MB", file, 0, ""))
            continue
        try:
            title, sections, links = PARSERS[file.suffix.lower()](file)
        except (ValueError, OSError, RecursionError, KeyError) as error:
            bad.append(Fault("cannot be read", file, 0, shortened(str(error))))
            continue
        text = _joined(sections)
        if not text.strip():
            empty.append(Fault("no text", file, 0, ""))
            continue
        if _is_binary(text):
            bad.append(Fault("binary", file, 0, ""))
            continue
        targets = [(words, _target(name, target)) for words, target in links]
        inside = tuple((words, target) for words, target in targets if target is not None)
        documents.append(Document(name, title, text, tuple(sections), inside))
    require_few(path, len(files), bad, "files with text", max_bad, unit="files")
    if not documents:
        raise DataError(f"{path}: holds no text, in {len(files)} files.", hint="name files with text.")
    faults += [*bad, *empty]
    return documents


def _joined(sections: Iterable[Section]) -> str:
    return "\n\n".join(part for section in sections for part in (section.heading, section.text) if part)


def _is_binary(text: str) -> bool:
    """Whether a text is none: it has a null, or more than one control character in a hundred."""
    return "\0" in text or len(CONTROL.findall(text)) > len(text) / 100


def _target(source: str, target: str) -> str | None:
    """Where a relative link leads, as the name of a file below the folder; None for addresses and what is no link."""
    try:
        address = urlparse(target)
    except ValueError:
        return None
    if address.scheme:
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), unquote(address.path)))


def _structured(title: str, blocks: Iterable[tuple[bool, str]], links: list[tuple[str, str]]) -> Parsed:
    """The sections out of (whether it is a heading, text) in order; without a title the first heading is it."""
    sections: list[tuple[str, list[str]]] = [("", [])]
    for is_heading, text in blocks:
        if is_heading:
            sections.append((text, []))
        elif text:
            sections[-1][1].append(text)
    found = [Section(heading, "\n\n".join(parts)) for heading, parts in sections if heading or parts]
    return title or next((section.heading for section in found if section.heading), ""), found, links


def _text(file: Path) -> str:
    return "".join(line for _, line in read_lines(file, FaultLog(file)))


def _plain(file: Path) -> Parsed:
    return "", [Section("", _text(file).strip())], []


def _markdown(file: Path) -> Parsed:
    from markdown_it import MarkdownIt

    title, body = _front_matter(_text(file))
    tokens = MarkdownIt("commonmark", {"maxNesting": 50}).enable("table").parse(body)
    blocks: list[tuple[bool, str]] = []
    links: list[tuple[str, str]] = []
    in_heading = False
    for token in tokens:
        if token.type == "heading_open":
            in_heading = True
        elif token.type == "inline":
            blocks.append((in_heading, _inline(token.children or [], links)))
            in_heading = False
        elif token.type in ("fence", "code_block"):
            blocks.append((False, token.content.rstrip()))
        elif token.type == "html_block":
            blocks += _html_blocks(_soup(token.content))
    return _structured(title, blocks, links)


def _front_matter(text: str) -> tuple[str, str]:
    """The title that YAML in front of a page gives (Jekyll, Hugo, Docusaurus), and the page itself."""
    match = FRONT_MATTER.match(text)
    if not match:
        return "", text
    try:
        found = yaml.safe_load(match[1])
    except (yaml.YAMLError, ValueError):  # a date that there is not is a ValueError
        return "", text
    if not isinstance(found, dict):
        return "", text
    return str(found.get("title") or ""), text[match.end() :]


def _inline(children: Sequence[Any], links: list[tuple[str, str]]) -> str:
    words: list[str] = []
    opened: tuple[int, str] | None = None
    for child in children:
        if child.type in ("text", "code_inline", "image"):  # of an image, what stands for it
            words.append(child.content)
        elif child.type in ("softbreak", "hardbreak") or child.content.lower().startswith("<br"):
            words.append(" ")
        elif child.type == "link_open":
            opened = len(words), str(child.attrs.get("href", ""))
        elif child.type == "link_close" and opened:
            links.append(("".join(words[opened[0] :]), opened[1]))
            opened = None
    return "".join(words)


def _html(file: Path) -> Parsed:
    soup = _soup(_text(file))
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    blocks = list(_html_blocks(soup))
    links = [(" ".join(link.get_text().split()), str(link["href"])) for link in soup.find_all("a", href=True)]
    return _structured(title, blocks, links)


def _soup(text: str) -> Any:
    bs4 = _needs("bs4", "beautifulsoup4")
    try:
        return bs4.BeautifulSoup(text, "html.parser")
    except bs4.exceptions.ParserRejectedMarkup as error:
        raise ValueError("broken HTML") from error


def _html_blocks(soup: Any) -> Iterator[tuple[bool, str]]:
    """(Whether it is a heading, text) of each line or paragraph; what is not read is taken out of the tree."""
    for unread in soup(UNREAD):
        unread.decompose()
    pieces = ((_block_around(node), node) for node in soup.descendants)
    for _, group in groupby(pieces, lambda piece: id(piece[0])):
        blocks, nodes = zip(*group, strict=True)
        text = "".join(map(_shown, nodes))
        text = text.strip("\n") if blocks[0].name == "pre" else " ".join(text.split())
        if text.strip():
            yield blocks[0].name in HEADINGS, text


def _block_around(node: Any) -> Any:
    """The innermost block that a node stands in, or is."""
    return next(up for up in chain((node,), node.parents) if up.name in BLOCKS or up.parent is None)


def _shown(node: Any) -> str:
    """What a browser shows for a node alone, without those inside it; of an image, what stands for it."""
    if node.name is None:
        return str(node) if type(node) in node.parent.MAIN_CONTENT_STRING_TYPES else ""
    return "\n" if node.name == "br" else str(node.get("alt", "")) if node.name == "img" else ""


def _rst(file: Path) -> Parsed:
    core = _needs("docutils.core", "docutils")
    nodes = _needs("docutils.nodes", "docutils")
    settings = {"report_level": 5, "halt_level": 5, "file_insertion_enabled": False, "raw_enabled": False,
                "warning_stream": io.StringIO()}  # fmt: skip
    tree = core.publish_doctree(_text(file), settings_overrides=settings)
    blocks = [
        (isinstance(node, nodes.title), node.astext())
        for node in tree.findall(nodes.TextElement)
        if not isinstance(node, nodes.Invisible | nodes.label) and not isinstance(node.parent, nodes.TextElement)
    ]
    links = [(link.astext(), str(link["refuri"])) for link in tree.findall(nodes.reference) if "refuri" in link]
    return _structured("", blocks, links)


def _pdf(file: Path) -> Parsed:
    pypdf = _needs("pypdf", "pypdf")
    try:
        reader = pypdf.PdfReader(file)
        pages = [page.extract_text() or "" for page in reader.pages]
        title = str((reader.metadata or {}).get("/Title") or "")
    except Exception as error:  # pypdf raises a dozen kinds for damaged and for locked files, not only its own
        raise ValueError(f"damaged or locked PDF: {error}") from error
    return title, [Section("", "\n\n".join(page.strip() for page in pages if page.strip()))], []


def _needs(module: str, package: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise DataError(
            f"reading this kind of file needs {package}.", hint="pip install 'embedft[documents]'."
        ) from error


PARSERS: dict[str, Callable[[Path], Parsed]] = {
    **dict.fromkeys((".md", ".markdown"), _markdown),
    **dict.fromkeys((".html", ".htm"), _html),
    **dict.fromkeys((".rst",), _rst),
    **dict.fromkeys((".txt", ".py"), _plain),
    **dict.fromkeys((".pdf",), _pdf),
}


def chunked(documents: Sequence[Document], count_tokens: CountTokens, max_tokens: int) -> list[Document]:
    """All documents in parts, as `chunk` cuts them; a link to a document leads to its first part."""
    parts = [list(chunk(document, count_tokens, max_tokens)) for document in documents]
    first = {document.id: own[0].id for document, own in zip(documents, parts, strict=True)}
    return [
        replace(part, links=tuple((words, first.get(target, target)) for words, target in part.links))
        for own in parts
        for part in own
    ]


def chunk(document: Document, count_tokens: CountTokens, max_tokens: int) -> Iterator[Document]:
    """The document in parts of at most ``max_tokens`` tokens, cut between sections, paragraphs, then sentences.

    A sentence that is longer alone stays whole; an encoder cuts it.
    """
    pieces: list[tuple[str, str]] = []
    for section in document.sections or (Section("", document.text),):
        for paragraph in section.text.split("\n\n"):
            fits = int(count_tokens([paragraph])[0]) <= max_tokens
            pieces += [
                (section.heading, part)
                for part in ([paragraph] if fits else sentences(paragraph))
                if part.strip() or not section.text
            ]
    sizes: Iterable[int] = count_tokens([text for _, text in pieces]) if pieces else []
    parts: list[list[tuple[str, str]]] = []
    room = 0
    for piece, size in zip(pieces, sizes, strict=True):
        new_section = bool(parts) and parts[-1][-1][0] != piece[0]
        if not parts or size > room or (new_section and room < max_tokens // 2):
            parts.append([])
            room = max_tokens
        parts[-1].append(piece)
        room -= int(size)
    if len(parts) < 2:
        yield document
        return
    for number, part in enumerate(parts, start=1):
        merged: dict[str, list[str]] = {}
        for heading, text in part:
            merged.setdefault(heading, []).append(text)
        sections = tuple(Section(heading, "\n\n".join(texts)) for heading, texts in merged.items())
        links = document.links if number == 1 else ()
        yield Document(f"{document.id}#{number}", document.title, _joined(sections), sections, links)
