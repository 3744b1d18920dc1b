"""The endpoint's client against a real server: order, repeats, cache, faults."""

import dataclasses
import json

import pytest
from filelock import FileLock

from embedft.data.derive import Document, PairReport
from embedft.data.endpoint import Endpoint, EndpointConfig
from embedft.data.written import PARAPHRASE, paraphrases, questions, read_prompt
from embedft.errors import ArtifactError, ConfigError, EndpointError
from tests.chat_server import chat_server


def endpoint(server, tmp_path, **options):
    return Endpoint(EndpointConfig(server.url, "writer", **options), tmp_path / "answers.jsonl")


def test_answers_come_in_order_and_at_once(tmp_path):
    with chat_server(lambda prompt: f"answer to {prompt}") as server:
        prompts = [f"prompt {n}" for n in range(40)]
        assert endpoint(server, tmp_path, workers=4).ask(prompts) == [f"answer to {prompt}" for prompt in prompts]
        assert 1 < server.most_at_once <= 4
        assert len(server.requests) == 40
        assert server.requests[0]["model"] == "writer"


def test_what_is_in_the_cache_is_not_asked_again(tmp_path):
    with chat_server(str.upper) as server:
        endpoint(server, tmp_path).ask(["one", "two"])
        # A process that died while it wrote leaves a broken last line.
        cache = tmp_path / "answers.jsonl"
        cache.write_text(cache.read_text() + '{"request": "12')
        assert endpoint(server, tmp_path).ask(["two", "three", "one"]) == ["TWO", "THREE", "ONE"]
        assert [request["messages"][0]["content"] for request in server.requests[2:]] == ["three"]
        assert len([json.loads(line) for line in cache.read_text().splitlines()]) == 3
        endpoint(server, tmp_path, temperature=0.1).ask(["one"])
        assert len(server.requests) == 4, "another temperature is another request"


def test_equal_prompts_are_asked_once_and_with_other_seeds_again(tmp_path):
    with chat_server(str.upper) as server:
        endpoint(server, tmp_path).ask(["one", "one"])
        assert len(server.requests) == 1
        endpoint(server, tmp_path).ask(["one", "one"], seeds=[0, 1])
        assert [request["seed"] for request in server.requests] == [0, 1]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_faults_are_repeated(tmp_path, status):
    faults = [(status, "busy")] * 3
    with chat_server(lambda prompt: faults.pop() if faults else prompt) as server:
        assert endpoint(server, tmp_path, workers=1).ask(["one"]) == ["one"]
        assert len(server.requests) == 4


def test_a_fault_that_stays_ends_the_work_and_what_came_before_stays(tmp_path):
    answered = []

    def answer(prompt):
        if len(answered) >= 5:
            return 500, "out of memory"
        answered.append(prompt)
        return prompt

    prompts = [f"prompt {n}" for n in range(20)]
    with chat_server(answer) as server:
        with pytest.raises(EndpointError, match="answered 500: out of memory") as caught:
            endpoint(server, tmp_path, retries=1, workers=2).ask(prompts)
        assert "again" in caught.value.hint
        assert len(server.requests) < 15, "after the fault nothing new is asked"
        server.answer = str.upper
        found = endpoint(server, tmp_path).ask(prompts)
    assert sum(answer.islower() for answer in found) == 5
    assert [answer.lower() for answer in found] == prompts


def test_one_refused_prompt_leaves_the_others(tmp_path):
    with chat_server(lambda prompt: (400, "too long") if "long" in prompt else prompt) as server:
        asked = endpoint(server, tmp_path)
        assert asked.ask(["one", "a long one", "two"]) == ["one", "", "two"]
        assert asked.refused == 1
        with pytest.raises(EndpointError, match="answered 400: too long"):
            asked.ask(["a long one"])


def test_the_key_is_sent_and_never_shown(tmp_path):
    with chat_server(str.upper, key="secret-7") as server:
        assert endpoint(server, tmp_path, key="secret-7").ask(["one"]) == ["ONE"]
        with pytest.raises(EndpointError, match="answered 401") as caught:
            endpoint(server, tmp_path, key="other-8").ask(["two"])
    assert "other-8" not in str(caught.value)
    assert "EMBEDFT_API_KEY" in caught.value.hint
    assert "secret-7" not in (tmp_path / "answers.jsonl").read_text()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9/v1", "cannot be reached"),
        ("localhost:9", "is no address"),
        ("http://host:port/v1", "is no address"),
    ],
)
def test_an_address_that_does_not_answer(tmp_path, url, said):
    with pytest.raises(EndpointError, match=said):
        Endpoint(EndpointConfig(url, "writer", retries=0), tmp_path / "answers.jsonl").ask(["one"])


def test_other_servers_and_pages_are_told(tmp_path):
    with chat_server(lambda _: (200, "<html>hello</html>")) as server:
        with pytest.raises(EndpointError, match="gave no chat completion: '<html>"):
            endpoint(server, tmp_path).ask(["one"])
        elsewhere = dataclasses.replace(endpoint(server, tmp_path).config, url=server.url.removesuffix("/v1"))
        with pytest.raises(EndpointError, match="answered 404") as caught:
            Endpoint(elsewhere, tmp_path / "answers.jsonl").ask(["one"])
    assert "address" in caught.value.hint


def test_a_cache_that_is_something_else_or_in_use_stays_as_it_is(tmp_path):
    cache = tmp_path / "answers.jsonl"
    cache.write_text('{"question": 1}\n')
    asked = Endpoint(EndpointConfig("http://127.0.0.1:9/v1", "writer"), cache)
    with pytest.raises(ArtifactError, match=r"answers.jsonl:1: is no answer"):
        asked.ask(["one"])
    assert cache.read_text() == '{"question": 1}\n'
    with FileLock(f"{cache}.lock"), pytest.raises(ArtifactError, match="another process"):
        asked.ask(["one"])


LIST = """Here are the queries:
1. How often does a tomato need water?
2) "When is it best to water tomatoes?"
- how much water on hot days
How often does a tomato need water?
"""


def test_questions_are_read_out_of_a_list(tmp_path):
    documents = [Document("t", "Tomatoes", "Water them early."), Document("e", "Nothing", " ")]
    report = PairReport()
    with chat_server(lambda _: LIST) as server:
        pairs = questions(documents, endpoint(server, tmp_path), report, count=5)
        assert [pair.anchor for pair in pairs] == [
            "How often does a tomato need water?",
            "When is it best to water tomatoes?",
            "how much water on hot days",
        ]
        assert {(pair.positive, pair.document) for pair in pairs} == {("Tomatoes Water them early.", "t")}
        assert report.made == {"questions": 3}
        assert len(questions(documents, endpoint(server, tmp_path), report, count=2)) == 2
        assert len(server.requests) == 2, "another count is another prompt; the empty document is not asked"
        assert "Tomatoes Water them early." in server.requests[0]["messages"][0]["content"]


def test_paraphrases_are_told_apart_by_seed(tmp_path):
    said = iter(['"first of a"', "second of a", "first of b", ""])
    with chat_server(lambda _: next(said)) as server:
        asked = endpoint(server, tmp_path, workers=1)
        assert paraphrases(["a {b}", "b"], 2, asked) == [["first of a", "second of a"], ["first of b"]]
        assert server.requests[0]["messages"][0]["content"] == PARAPHRASE.replace("{text}", "a {b}")


def test_a_prompt_without_a_place_for_the_text(tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_text("Write a question about {text}.")
    assert read_prompt(path) == "Write a question about {text}."
    path.write_text("Write a question.")
    with pytest.raises(ConfigError, match="where the text goes"):
        read_prompt(path)
    with pytest.raises(ConfigError, match="no readable prompt"):
        read_prompt(tmp_path / "missing.txt")
