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
    return Endpoint(EndpointConfig(server.url, "writer", **options), tmp_path / "answers")


def said(asked, *arguments, **options):
    """The texts of the answers."""
    return [answer.text for answer in asked.ask(*arguments, **options)]


def test_answers_come_in_order_and_at_once(tmp_path):
    with chat_server(lambda prompt: f"answer to {prompt}") as server:
        prompts = [f"prompt {n}" for n in range(40)]
        assert said(endpoint(server, tmp_path, workers=4), prompts) == [f"answer to {prompt}" for prompt in prompts]
        assert 1 < server.most_at_once <= 4
        assert len(server.requests) == 40
        assert server.requests[0]["model"] == "writer"


def test_what_is_in_the_cache_is_not_asked_again(tmp_path):
    with chat_server(str.upper) as server:
        endpoint(server, tmp_path).ask(["one", "two"])
        # A process that died while it wrote leaves a broken last line.
        cache = tmp_path / "answers"
        cache.write_text(cache.read_text() + '{"request": "12')
        assert said(endpoint(server, tmp_path), ["two", "three", "one"]) == ["TWO", "THREE", "ONE"]
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
        assert said(endpoint(server, tmp_path, workers=1), ["one"]) == ["one"]
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
        found = said(endpoint(server, tmp_path), prompts)
    assert sum(answer.islower() for answer in found) == 5
    assert [answer.lower() for answer in found] == prompts


def test_one_refused_prompt_leaves_the_others(tmp_path):
    with chat_server(lambda prompt: (400, "too long") if "long" in prompt else prompt) as server:
        asked = endpoint(server, tmp_path)
        assert said(asked, ["one", "a long one", "two"]) == ["one", "", "two"]
        assert asked.refused == 1
        assert said(asked, ["one", "a long one", "two"]) == ["one", "", "two"], "the same again"
        assert asked.said() == "1 answers refused"
        with pytest.raises(EndpointError, match="answered 400: too long"):
            asked.ask(["a long one"])


def test_the_key_is_sent_and_never_shown(tmp_path):
    with chat_server(str.upper, key="secret-7") as server:
        assert said(endpoint(server, tmp_path, key="secret-7"), ["one"]) == ["ONE"]
        with pytest.raises(EndpointError, match="answered 401") as caught:
            endpoint(server, tmp_path, key="other-8").ask(["two"])
    assert "other-8" not in str(caught.value)
    assert "EMBEDFT_API_KEY" in caught.value.hint
    assert "secret-7" not in (tmp_path / "answers").read_text()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:9/v1", "cannot be reached"),
        ("localhost:9", "is no address"),
        ("http://host:port/v1", "is no address"),
    ],
)
def test_an_address_that_does_not_answer(tmp_path, url, told):
    with pytest.raises(EndpointError, match=told):
        Endpoint(EndpointConfig(url, "writer", retries=0), tmp_path / "answers").ask(["one"])


def test_other_servers_and_pages_are_told(tmp_path):
    with chat_server(lambda _: (200, "<html>hello</html>")) as server:
        with pytest.raises(EndpointError, match="gave no chat completion: <html>"):
            endpoint(server, tmp_path).ask(["one"])
        elsewhere = dataclasses.replace(endpoint(server, tmp_path).config, url=server.url.removesuffix("/v1"))
        with pytest.raises(EndpointError, match="answered 404") as caught:
            Endpoint(elsewhere, tmp_path / "answers").ask(["one"])
    assert "address" in caught.value.hint


def test_a_cache_that_is_something_else_or_in_use_stays_as_it_is(tmp_path):
    cache = tmp_path / "answers"
    for content in ("precious", '{"question": 1}', '{"request": "1"}\nprecious'):
        cache.write_text(content)
        with pytest.raises(ArtifactError, match="is no answer"):
            Endpoint(EndpointConfig("http://127.0.0.1:9/v1", "writer"), cache).ask(["one"])
        assert cache.read_text() == content
    cache.write_text('{"question": 1}\n')
    asked = Endpoint(EndpointConfig("http://127.0.0.1:9/v1", "writer"), cache)
    with pytest.raises(ArtifactError, match=r"answers:1: is no answer"):
        asked.ask(["one"])
    assert cache.read_text() == '{"question": 1}\n'
    with FileLock(f"{cache}.lock"), pytest.raises(ArtifactError, match="another process"):
        asked.ask(["one"])


def test_what_every_request_is_refused_for_is_not_asked_of_all(tmp_path):
    with chat_server(lambda _: (400, "unsupported parameter")) as server:
        with pytest.raises(EndpointError, match="unsupported parameter"):
            endpoint(server, tmp_path, workers=4).ask([f"prompt {n}" for n in range(300)])
        assert len(server.requests) < 40


def test_no_message_shows_the_key(tmp_path):
    key = "sk-" + "0123456789" * 4
    config = EndpointConfig("http://127.0.0.1:9/v1/", "writer", key=f" {key}\n")
    assert key not in repr(config)
    assert config.key == key
    with pytest.raises(EndpointError, match="odd characters") as caught:
        EndpointConfig("http://127.0.0.1:9/v1", "writer", key="schlüssel")
    assert "schlüssel" not in str(caught.value)
    for status, body in ((401, "x" * 280 + key), (200, json.dumps({"error": key}))):
        with chat_server(lambda _, answer=(status, body): answer) as server, pytest.raises(EndpointError) as caught:
            endpoint(server, tmp_path, key=key).ask(["one"])
        assert key[:8] not in str(caught.value)


def test_cut_empty_and_thinking_answers(tmp_path):
    def completion(content, reason="stop"):
        return 200, json.dumps({"choices": [{"message": {"content": content}, "finish_reason": reason}]})

    answers = {
        "cut": completion("first whole query\nsecond hal", "length"),
        "empty": completion(None),
        "think": completion("<think>\nlet me see\n</think>\nthe answer itself"),
        "lost": completion("<think>thought until the end", "length"),
    }
    with chat_server(lambda prompt: answers[prompt.split()[-1]]) as server:
        asked = endpoint(server, tmp_path, workers=1)
        assert said(asked, list(answers)) == ["first whole query\nsecond hal", "", "the answer itself", ""]
        assert (asked.empty, asked.cut) == (2, 1)
        said(asked, list(answers))
        assert len(server.requests) == 6, "an empty answer is asked for again"
        report = PairReport()
        documents = [Document(name, "", f"text that ends in {name}") for name in ("cut", "think")]
        asked = endpoint(server, tmp_path)
        found = questions(documents, asked, report)
        assert [pair.anchor for pair in found] == ["first whole query", "the answer itself"]
        assert paraphrases(["one cut", "two think", "empty"], 1, asked) == [[], ["the answer itself"], []]


def test_a_question_for_several_documents_goes(tmp_path):
    documents = [Document(str(n), "", f"text of document {n}") for n in range(4)]
    report = PairReport()
    with chat_server(lambda prompt: f"Sorry, I cannot help.\nwhat is in {prompt[-1]}") as server:
        pairs = questions(documents, endpoint(server, tmp_path), report)
    assert [pair.anchor for pair in pairs] == [f"what is in {n}" for n in range(4)]
    assert report.dropped == {"question for several documents": {"questions": 4}}


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
    answers = iter(['"first of a"', "second of a", "first of b", ""])
    with chat_server(lambda _: next(answers)) as server:
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
