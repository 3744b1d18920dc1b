"""The order of the rooms: each imports only from those above it."""

import ast
from pathlib import Path

import embedft

ROOT = Path(embedft.__file__).parent
ROOMS = ["errors", "progress", "config", "artifacts", "data", "encoder", "index", "evaluation", "heads"]
ROOMS += ["tasks", "training", "reports"]
OUTSIDE = {"cli", "integrations", "__init__", "__main__"}


def imports_of(path: Path) -> set[str]:
    """Rooms that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        found |= {name.split(".")[1] for name in names if name.startswith("embedft.")}
    return found


def test_every_room_imports_only_from_rooms_above():
    rooms = set()
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).with_suffix("").parts[0]
        rooms.add(room)
        if room in OUTSIDE:
            continue
        above = set(ROOMS[: ROOMS.index(room) + 1])
        assert imports_of(path) <= above, f"{path.relative_to(ROOT)} imports from below"
    assert rooms - OUTSIDE == set(ROOMS)


def test_nothing_imports_the_command_line():
    for path in ROOT.rglob("*.py"):
        if path.relative_to(ROOT).parts[0] not in {"cli", "__main__.py"}:
            assert "cli" not in imports_of(path)


def test_no_file_is_two_ideas():
    assert [path.name for path in ROOT.rglob("*.py") if len(path.read_text().splitlines()) > 500] == []
