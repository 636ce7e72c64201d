"""From text to documents: what kubectl would read, and one line for what is no manifest."""

import json

import pytest

from tenantconfig.manifests import Broken, Document, documents

SECRET = "hunter2"  # stands where a value may: no message repeats it

NOT_JSON = "has what JSON cannot hold (.nan, .inf, a tag, an alias of itself): quote it"


def bodies(file: str, text: str) -> list[object]:
    """The contents of all documents."""
    return [each.body if isinstance(each, Document) else each for each in documents(file, text)]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.yaml", "a: 1\n---\n# nothing\n---\n- no object\n---\na: 2\n"),
        ("a.yaml", "kind: List\nitems: [{a: 1}, {kind: XList, items: [{a: 2}]}]"),
        ("a.json", '{"kind": "List", "items": [{"a": 1}, {"a": 2}]}'),
        ("-", '{"kind": "List", "items": [{"a": 1}, {"a": 2}]}'),
        ("-", "{a: 1}\n---\n{a: 2}\n"),
        ("a.yaml", "x: &x {a: 1}\nkind: List\nitems: [*x, {<<: *x, a: 2}]"),
    ],
)
def test_objects_come_one_by_one(file: str, text: str) -> None:
    assert bodies(file, text) == [{"a": 1}, {"a": 2}]


def test_json_on_stdin_keeps_its_characters() -> None:
    assert bodies("-", json.dumps({"a": "😀"})) == [{"a": "😀"}]


@pytest.mark.parametrize(
    ("file", "text", "line", "message"),
    [
        ("a.yaml", f"a: 1\nb: [{SECRET}\nc: 1\n", 3, "is not YAML: did not find expected ',' or ']'"),
        ("a.yaml", f"a: *{SECRET}", 1, "is not YAML: found undefined alias"),
        ("a.yaml", f"a: !{SECRET} b", 1, "is not YAML: could not determine a constructor for the tag"),
        ("a.yaml", f"a: !'{SECRET} b", 1, "is not YAML: could not determine a constructor for the tag"),
        ("a.yaml", f"a: %{SECRET}", 1, "is not YAML: found character that cannot start any token"),
        ("a.yaml", f"a:\n  {SECRET}: 1\n  {SECRET}: 2\n", 3, "is not YAML: the same key twice in one mapping"),
        ("a.yaml", "a: {? [b] : 1}", 1, "is not YAML: a key that is no text"),
        ("a.yaml", "a: 1\nb: \x07\n", 2, "has a character that YAML does not take"),
        (
            "a.yaml",
            "---\n---\na: .nan\n",
            3,
            NOT_JSON,
        ),
        (
            "a.yaml",
            "a: !!binary aGk=",
            1,
            NOT_JSON,
        ),
        ("a.yaml", "a: &a [*a]", 1, NOT_JSON),
        ("a.yaml", "a: " + "9" * 5000, 1, "has a number that is too long to be read"),
        ("a.yaml", "a: " + "[" * 1000000, 1, "is nested too deeply"),
        ("a.yaml", "- " * 1000000, 1, "is nested too deeply"),
        ("a.json", "[" * 1000000, 1, "is nested too deeply"),
        ("a.json", '{"a": 1,\n b}', 2, "is not JSON: Expecting property name enclosed in double quotes"),
        ("a.json", '{"a": 1, "a": 2}', 1, "has the same key twice in one object"),
        ("a.json", '{"a": "\\ud800"}', 1, "has half of a surrogate pair in a text: write the character itself"),
        ("a.json", '{"a": 1e999}', 1, NOT_JSON),
    ],
)
def test_what_is_no_manifest_is_one_line_that_repeats_nothing(file: str, text: str, line: int, message: str) -> None:
    found = bodies(file, text)
    assert found == [Broken(file, line, message)]
    assert SECRET not in message


def test_what_comes_before_the_error_is_read() -> None:
    first, broken = documents("a.yaml", "a: 1\n---\nb: [\n")
    assert isinstance(first, Document)
    assert isinstance(broken, Broken)


def test_keys_are_texts_as_in_json() -> None:
    assert bodies("a.yaml", "{1: a, yes: b, 1.5: c, null: d}") == [{"1": "a", "true": "b", "1.5": "c", "null": "d"}]


def test_an_override_of_what_is_merged_is_no_duplicate() -> None:
    text = "p: &p {a: 1}\nq: &q {<<: *p, a: 2}\nr: {<<: *q, a: 3}\n"
    assert bodies("a.yaml", text) == [{"p": {"a": 1}, "q": {"a": 2}, "r": {"a": 3}}]


def test_few_aliases_do_not_stand_for_more_than_memory_holds() -> None:
    text = "a0: &a0 [text]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    message = "is larger than anything that the API server takes, its aliases written out"
    assert bodies("a.yaml", text) == [Broken("a.yaml", 1, message)]
