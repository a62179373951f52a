"""Answers read back: what was written comes out, and every fault has a reason a model can act on."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.endpoint import answer, phrases_of

from potstill.concepts.answer import LONGEST, Answer, BadAnswer, parse

PRINTED = st.text(st.characters(codec="utf-8"), min_size=1, max_size=LONGEST).filter(
    lambda text: text.isprintable() and text == text.strip()
)
LOWER = PRINTED.filter(lambda text: not text[0].isupper())


@given(st.lists(LOWER, min_size=4, max_size=4, unique_by=str.casefold), PRINTED)
def test_what_is_written_is_read(phrases, name):
    assert parse(answer(name, phrases), name, 4) == Answer(("a Twin",), tuple(phrases))


@given(st.text(), st.text(min_size=1))
def test_no_text_does_anything_but_fail_with_a_reason(text, name):
    for told in (text, answer("a", phrases_of("a")).replace("part 3", text)):
        try:
            assert len(parse(told, name, 10).phrases) == 10
        except BadAnswer as bad:
            assert str(bad)


@pytest.mark.parametrize("echo", ["</class>", '"</class>"', '"\\u003c/class\\u003e"', ' "</class>" '])
def test_the_class_may_be_echoed_quoted_or_bare(echo):
    told = answer("x", phrases_of("x")).replace('"x"', echo)
    assert parse(told, "</class>", 10).phrases == tuple(phrases_of("x"))


def test_accents_written_in_another_way_are_the_same_name():
    assert parse(answer("é", phrases_of("x")), "e\u0301", 10)


def test_words_and_thoughts_before_the_answer_are_passed_over():
    good = answer("fish", phrases_of("fish"))
    thought = "<think>\nmaybe\n<phrases>\n- draft\n</phrases>\n</think>\nHere it is:\n"
    assert parse(thought + good.replace("\n", "\r\n"), "fish", 10) == parse(good, "fish", 10)


GOOD = phrases_of("fish")
BAD = [
    ("", "it is empty"),
    ("no tags at all", "one line <class>"),
    (answer("dog", GOOD), 'names the class "dog", which is not the one asked for'),
    (answer("fish", GOOD[:9]), "has 9 phrases, not 10"),
    (answer("fish", phrases_of("fish", 11)), "has 11 phrases, not 10"),
    (answer("fish", []), "has 0 phrases"),
    (answer("fish", [*GOOD[:9], "a" * 128]), "phrase 10 has 128 characters, more than 127"),
    (answer("fish", [*GOOD[:9], "Round eye"]), "phrase 10 begins with an upper-case letter"),
    (answer("fish", [*GOOD[:9], ""]), "phrase 10 is empty"),
    (answer("fish", [*GOOD[:9], GOOD[2].upper().lower()]), "phrase 10 repeats an earlier one"),
    (answer("fish", [*GOOD[:9], "a\x07b"]), "phrase 10 holds characters that cannot be printed"),
    (answer("fish", [*GOOD[:9], "a\u202eb"]), "phrase 10 holds characters that cannot be printed"),
    (answer("fish", [*GOOD[:9], "a\u2028b"]), "phrase 10 holds characters that cannot be printed"),
    (answer("fish", GOOD).replace("a Twin", ""), "look-alike 1 is empty"),
    (
        answer("fish", GOOD).replace("- a Twin", "\n".join(f"- {n}" for n in range(11))),
        "11 look-alikes, more than 10",
    ),
    (answer("fish", GOOD).replace("</phrases>", ""), "hold <phrases> and </phrases> once"),
    (answer("fish", GOOD) + "\n" + answer("fish", GOOD), "one line <class>"),
    (answer("fish", GOOD).replace("- part 3", "3. part 3"), "begins with '- ', but not '3. part 3"),
    (json.dumps({"class": "fish", "phrases": GOOD}), "one line <class>"),
]


@pytest.mark.parametrize(("told", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_a_bad_answer_is_told_what_is_wrong(told, reason):
    with pytest.raises(BadAnswer) as caught:
        parse(told, "fish", 10)
    assert reason in str(caught.value)


def test_all_faults_are_told_at_once():
    with pytest.raises(BadAnswer) as caught:
        parse(answer("fish", ["A", "b" * 200]), "fish", 10)
    assert str(caught.value).count(";") == 2 and "phrase 1" in str(caught.value)
