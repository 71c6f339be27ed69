"""The words of all messages, in a list that shows a reviewer how they change."""

from __future__ import annotations

import re

from messages import LISTED, messages

PREPOSITIONS = (
    "about after at before below beside by for from in into of on than to until with without"
)


def test_the_list_of_messages_is_of_today() -> None:
    """Otherwise: python tests/messages.py, and read what has changed."""
    assert LISTED.read_text().splitlines() == messages()


def test_no_message_begins_with_it_is_or_ends_in_a_preposition() -> None:
    assert len(messages()) > 300
    ends = rf"(?<!log) (?:{'|'.join(PREPOSITIONS.split())})[.:]?$"
    wrong = [
        text
        for text in messages()
        if re.match("it is ", text, re.IGNORECASE) or re.search(ends, text)
    ]
    assert wrong == []
