"""Documents out of files: no text of a page is lost, and no odd file ends the reading of the others."""

import pytest

from embedft.data.corpus import read_documents
from embedft.errors import DataError

# Enough good files beside an odd one.
FILLED = {f"{number:02}.txt": "ferns like shade" for number in range(20)}


def pdf(objects, trailer=b""):
    """A PDF of these objects, the first of which is its catalogue, written here by hand."""
    body, places = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, start=1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    ends = b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF"
    return body + ends % (len(objects) + 1, table, len(objects) + 1, trailer, len(body))


def page_of(content):
    return [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        content,
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def text_of(folder, name, content):
    (document,) = read_documents(write(folder, {name: content}) / name)
    return document.text


def test_a_pdf_is_read(tmp_path):
    stream = b"BT /F1 18 Tf 40 700 Td (Roses want to be cut in spring before they shoot) Tj ET"
    content = pdf(page_of(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream)))
    assert text_of(tmp_path, "roses.pdf", content) == "Roses want to be cut in spring before they shoot"


def aes_pdf():
    keys = b" ".join(b"/%s <%s>" % (name, b"41" * size) for name, size in
                     ((b"O", 48), (b"U", 48), (b"OE", 32), (b"UE", 32), (b"Perms", 16)))  # fmt: skip
    lock = b"<< /Filter /Standard /V 5 /R 6 /Length 256 /P -4 /StmF /StdCF /StrF /StdCF %s" % keys
    lock += b" /CF << /StdCF << /AuthEvent /DocOpen /CFM /AESV3 /Length 32 >> >> >>"
    return pdf([*page_of(b"<< /Length 0 >>\nstream\n\nendstream"), lock], b"/Encrypt 6 0 R /ID [<41> <41>]")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("damaged.pdf", b"%PDF-1.4 nothing"),
        ("locked.pdf", aes_pdf()),
        ("filter.pdf", pdf(page_of(b"<< /Length 3 /Filter /Odd >>\nstream\nabc\nendstream"))),
    ],
)
def test_a_file_that_its_parser_refuses_is_left_out_and_named(tmp_path, name, content):
    write(tmp_path, {**FILLED, name: content})
    assert len(read_documents(tmp_path)) == 20
    with pytest.raises(DataError, match=rf"{name}: cannot be read \("):
        read_documents(tmp_path, max_bad=0.01)


def test_html_that_some_versions_of_its_parser_refuse_ends_nothing(tmp_path):
    write(tmp_path, {**FILLED, "odd.html": "<p>ferns</p><![odd]>"})
    assert len(read_documents(tmp_path)) >= 20


def test_a_link_that_is_none_leaves_its_page_in_place(tmp_path):
    pages = {
        "a.html": "<p>ferns like shade</p><a href='http://[x'>no link</a> <a href='c.rst'>the rest</a>",
        "b.md": "ferns like shade [no link](http://[x) and [the rest](c.rst)",
        "c.rst": "Ferns\n=====\n\nthey like `no link <http://[foo>`_ shade and `ferns <a.html>`_\n",
    }
    found = {document.id: document.links for document in read_documents(write(tmp_path, pages))}
    assert found == {
        "a.html": (("the rest", "c.rst"),),
        "b.md": (("the rest", "c.rst"),),
        "c.rst": (("ferns", "a.html"),),
    }


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<div>Ferns like <b>sh</b>ade<br>and moss.</div><p>One</p>", "Ferns like shade and moss.\n\nOne"),
        ("<table><tr><th>Plant</th><td>Fern</td></tr></table>", "Plant\n\nFern"),
        ("<div>above<p>inside</p>below<p></p>after</div>", "above\n\ninside\n\nbelow\n\nafter"),
        ("<p>never closed<p>nor this<ul><li>one<li>two</ul>", "never closed\n\nnor this\n\none\n\ntwo"),
        ("<pre>\ndef f():\n    return <i>1</i>\n</pre>", "def f():\n    return 1"),
        ("plain <span>words</span> <img src=x alt='a fern'><!-- note --><script>no</script>", "plain words a fern"),
        ("<title>Shade</title><h2>In <i>pots</i></h2>text", "In pots\n\ntext"),
    ],
)
def test_all_words_of_a_page_are_read_block_by_block(tmp_path, page, text):
    assert text_of(tmp_path, "a.html", f"<html><body>{page}</body></html>") == text


def test_html_and_images_inside_markdown_are_read(tmp_path):
    page = "<h1 align=center>Ferns</h1>\n\n<details>\n<summary>More</summary>\nHidden words.\n</details>\n\n"
    page += "Plain ![a red fern](x.png)<br>end.\n"
    (document,) = read_documents(write(tmp_path, {"a.md": page}))
    assert document.title == "Ferns"
    assert document.text == "Ferns\n\nMore\n\nHidden words.\n\nPlain a red fern end."


def test_terms_examples_and_captions_of_restructuredtext_are_read(tmp_path):
    page = "frond\n    the leaf of a fern\n\n>>> water(fern)\n\n.. figure:: x.png\n\n   a red fern\n\n.. a comment\n"
    expected = "frond\n\nthe leaf of a fern\n\n>>> water(fern)\n\na red fern"
    assert text_of(tmp_path, "a.rst", page) == expected


def test_hidden_folders_are_not_read(tmp_path):
    write(tmp_path / ".site", {"a.md": "# ferns\n\nthey like shade", ".venv/lib/x.py": "x = 1", ".b.md": "draft"})
    assert [document.id for document in read_documents(tmp_path / ".site")] == ["a.md"]


def test_front_matter_gives_the_title_and_no_text(tmp_path):
    body = "# When to water\n\nWater them early in the morning, at the roots and not the leaves.\n"
    (tmp_path / "a.md").write_text("---\ntitle: Tomatoes in pots\ntags: [x]\n---\n" + body)
    (tmp_path / "b.md").write_text("---\n: [no yaml\n---\n" + body)
    first, second = read_documents(tmp_path)
    assert first.title == "Tomatoes in pots"
    assert "tags" not in first.text
    assert [section.heading for section in first.sections] == ["When to water"]
    assert "no yaml" in second.text


def test_binary_files_are_left_out(tmp_path):
    (tmp_path / "good.md").write_text("# A page\n\nWater them early in the morning, at the roots and not the leaves.\n")
    (tmp_path / "bad.md").write_bytes(bytes(range(256)) * 8)
    assert [document.id for document in read_documents(tmp_path, max_bad=0.5)] == ["good.md"]
    with pytest.raises(DataError, match="binary"):
        read_documents(tmp_path, max_bad=0.1)
