"""Small labelled texts of three topics, written for the tests."""

import json

FORMS = {
    "weather": ("it rains in {}", "the sun shines over {}", "a storm comes to {}", "fog lies on {}"),
    "trains": ("a train leaves for {}", "the railway to {} is closed", "a ticket to {}, please", "platform of {}"),
    "food": ("what people eat in {}", "a cook from {} bakes bread", "the soup of {}", "dinner is served in {}"),
}
PLACES = ("Oslo", "Lima", "Cairo", "Vienna", "Kyoto", "Rome")


def rows(*, several=False):
    """72 texts with their label, in an order that mixes the classes; with ``several`` the place is a label too."""
    found = []
    for place in PLACES:
        for number in range(4):
            for topic, forms in FORMS.items():
                label = [topic, *(["europe"] if place in ("Oslo", "Vienna", "Rome") else [])] if several else topic
                found.append({"text": forms[number].format(place), "label": label})
    return found


def write(folder, *, several=False, **more):
    """A folder with train.jsonl, test.jsonl (a third of the rows) and further splits."""
    every = rows(several=several)
    # Whole places apart, so that no text of the test stands in train.
    splits = {"train": every[:48], "test": every[48:], **more}
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in splits.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return folder
