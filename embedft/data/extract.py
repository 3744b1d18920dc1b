"""Documents out of files as people have them: PDF, HTML, Markdown, reStructuredText, plain text, Python; or rows.

Structure comes from well-kept parsers (markdown-it-py, docutils, Beautiful Soup, pypdf). A file that cannot be read is
left out and counted, as rows are.
"""

from __future__ import annotations

import io
import logging
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import yaml

from embedft.data.beir import is_beir, read_corpus
from embedft.data.dataset import read_dataset
from embedft.data.derive import Document, Section, sentences
from embedft.data.faults import MAX_BAD_SHARE, Fault, FaultLog, report
from embedft.data.peculiar import CONTROL
from embedft.data.source import read_lines
from embedft.errors import DataError

logger = logging.getLogger("embedft")

FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.S)
MAX_FILE = 256 * 2**20
Parsed = tuple[str, list[Section], list[tuple[str, str]]]
CountTokens = Callable[[Sequence[str]], Any]


def read_documents(path: Path, max_bad: float = MAX_BAD_SHARE) -> list[Document]:
    """The documents of a corpus (BEIR folder, JSONL, CSV, ...), of one file, or of all files below a folder.

    Raises:
        DataError: nothing is there, or more than ``max_bad`` of it cannot be read.
    """
    if is_beir(path) or path.name == "corpus.jsonl":
        rows = read_corpus(path / "corpus.jsonl" if path.is_dir() else path, max_bad=max_bad).to_pylist()
        return [Document(row["id"], row["title"], row["text"]) for row in rows]
    if files := document_files(path):
        faults: list[Fault] = []
        documents = parse_files(path, files, faults, max_bad)
        report(faults)
        return documents
    data = read_dataset(path, max_bad=max_bad)
    if data.kind != "documents":
        raise DataError(
            f"{path}: holds {data.kind}, not documents.", hint="name documents: rows with a text, or files."
        )
    report(data.faults)
    rows = [row for table in data.splits.values() for row in table.to_pylist()]
    ids = [row["id"] for row in rows]
    if len(set(ids)) < len(ids):
        # Several files number their rows alike.
        ids = [f"{Path(row['file']).name}:{row['line']}" for row in rows]
    return [Document(key, row["title"], row["text"]) for key, row in zip(ids, rows, strict=True)]


def document_files(path: Path) -> list[Path]:
    """The files that hold a document each: ``path`` itself, or all below it; none where rows are to be read."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.suffix.lower() in PARSERS and file.is_file())
    return [path] if path.suffix.lower() in PARSERS else []


def parse_files(path: Path, files: Sequence[Path], faults: list[Fault], max_bad: float) -> list[Document]:
    """A document of each file; its id is the file's name below ``path``.

    Args:
        path: a folder, or the one file.
        files: as `document_files` gives them.
        faults: where to list the files that were left out.
        max_bad: share of files that may be left out, 0..1.

    Raises:
        DataError: more than ``max_bad`` of them cannot be read.
    """
    root = path if path.is_dir() else path.parent
    log = FaultLog(root)
    documents = []
    for number, file in enumerate(files, start=1):
        log.rows += 1
        name = file.relative_to(root).as_posix()
        if file.stat().st_size > MAX_FILE:
            log.add(f"larger than {MAX_FILE // 2**20} MB", number, name)
            continue
        try:
            title, sections, links = PARSERS[file.suffix.lower()](file)
        except (ValueError, UnicodeError, OSError, RecursionError, KeyError) as error:
            log.add("cannot be read", number, f"{name}: {error}")
            continue
        text = "\n\n".join(part for section in sections for part in (section.heading, section.text) if part)
        if not text.strip() or _is_binary(text):
            log.add("binary" if text.strip() else "no text", number, name)
            continue
        inside = tuple((words, _target(name, target)) for words, target in links if not urlparse(target).scheme)
        named = tuple(section for section in sections if section.heading)
        documents.append(Document(name, title, text, named, inside))
    log.check("files with text", max_bad)
    faults += log.faults
    return documents


def _is_binary(text: str) -> bool:
    """Whether a text is none: it has a null, or more than one control character in a hundred."""
    return "\0" in text or len(CONTROL.findall(text)) > len(text) / 100


def _target(source: str, target: str) -> str:
    """Where a relative link leads, as the name of a file below the folder."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), unquote(urlparse(target).path)))


def _text(file: Path) -> str:
    return "".join(line for _, line in read_lines(file, FaultLog(file)))


def _plain(file: Path) -> Parsed:
    return "", [Section("", _text(file).strip())], []


def _markdown(file: Path) -> Parsed:
    from markdown_it import MarkdownIt

    title, body = _front_matter(_text(file))
    tokens = MarkdownIt("commonmark", {"maxNesting": 50}).enable("table").parse(body)
    sections: list[tuple[str, list[str]]] = [("", [])]
    links: list[tuple[str, str]] = []
    in_heading = False
    for token in tokens:
        if token.type == "heading_open":
            in_heading = True
        elif token.type == "inline":
            words = _inline(token.children or [], links)
            if in_heading:
                sections.append((words, []))
                in_heading = False
            else:
                sections[-1][1].append(words)
        elif token.type in ("fence", "code_block"):
            sections[-1][1].append(token.content.rstrip())
    found = [Section(heading, "\n\n".join(parts)) for heading, parts in sections if heading or parts]
    return title or next((section.heading for section in found if section.heading), ""), found, links


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
        if child.type in ("text", "code_inline"):
            words.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            words.append(" ")
        elif child.type == "link_open":
            opened = len(words), str(child.attrs.get("href", ""))
        elif child.type == "link_close" and opened:
            links.append(("".join(words[opened[0] :]), opened[1]))
            opened = None
    return "".join(words)


def _html(file: Path) -> Parsed:
    soup = _needs("bs4", "beautifulsoup4").BeautifulSoup(_text(file), "html.parser")
    for unread in soup(["script", "style", "nav", "footer", "noscript", "template"]):
        unread.decompose()
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    links = [(" ".join(link.get_text().split()), str(link["href"])) for link in soup.find_all("a", href=True)]
    sections: list[tuple[str, list[str]]] = [("", [])]
    blocks = ("h1", "h2", "h3", "h4", "h5", "h6", "p", "li", "pre", "td", "dd", "dt", "blockquote")
    for block in soup.find_all(blocks):
        if block.find_parent(blocks):
            continue
        words = block.get_text() if block.name == "pre" else " ".join(block.get_text(" ").split())
        if block.name[0] == "h" and block.name[1:].isdigit():
            sections.append((words, []))
        elif words:
            sections[-1][1].append(words)
    found = [Section(heading, "\n\n".join(parts)) for heading, parts in sections if heading or parts]
    return title or next((section.heading for section in found if section.heading), ""), found, links


def _rst(file: Path) -> Parsed:
    core = _needs("docutils.core", "docutils")
    nodes = _needs("docutils.nodes", "docutils")
    settings = {"report_level": 5, "halt_level": 5, "file_insertion_enabled": False, "raw_enabled": False,
                "warning_stream": io.StringIO()}  # fmt: skip
    tree = core.publish_doctree(_text(file), settings_overrides=settings)
    sections: list[tuple[str, list[str]]] = [("", [])]
    for node in tree.findall():
        if isinstance(node, nodes.title):
            sections.append((node.astext(), []))
        elif isinstance(node, nodes.paragraph | nodes.literal_block):
            sections[-1][1].append(node.astext())
    links = [(link.astext(), str(link["refuri"])) for link in tree.findall(nodes.reference) if "refuri" in link]
    found = [Section(heading, "\n\n".join(parts)) for heading, parts in sections if heading or parts]
    return next((section.heading for section in found if section.heading), ""), found, links


def _pdf(file: Path) -> Parsed:
    pypdf = _needs("pypdf", "pypdf")
    try:
        reader = pypdf.PdfReader(file)
        pages = [page.extract_text() or "" for page in reader.pages]
        title = str((reader.metadata or {}).get("/Title") or "")
    except pypdf.errors.PyPdfError as error:
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


def chunk(document: Document, count_tokens: CountTokens, max_tokens: int) -> Iterator[Document]:
    """The document in parts of at most ``max_tokens`` tokens, cut between sections, paragraphs, then sentences.

    A sentence that is longer alone stays whole; an encoder cuts it.
    """
    pieces: list[tuple[str, str]] = []
    for section in document.sections or (Section("", document.text),):
        for paragraph in section.text.split("\n\n"):
            fits = int(count_tokens([paragraph])[0]) <= max_tokens
            pieces += [
                (section.heading, part) for part in ([paragraph] if fits else sentences(paragraph)) if part.strip()
            ]
    sizes = count_tokens([text for _, text in pieces]) if pieces else []
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
        text = "\n\n".join(f"{each.heading}\n\n{each.text}" if each.heading else each.text for each in sections)
        named = tuple(each for each in sections if each.heading)
        yield Document(f"{document.id}#{number}", document.title, text, named, document.links if number == 1 else ())
