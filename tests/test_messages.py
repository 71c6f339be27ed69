"""The words of all messages."""

from __future__ import annotations

import re

from messages import messages

PREPOSITIONS = (
    "about after at before below beside by for from in into of on than to until with without"
)


def test_no_message_begins_with_it_is_or_ends_in_a_preposition() -> None:
    assert len(messages()) > 300
    ends = rf"(?<!log) (?:{'|'.join(PREPOSITIONS.split())})[.:]?$"
    wrong = [
        text
        for text in messages()
        if re.match("it is ", text, re.IGNORECASE) or re.search(ends, text)
    ]
    assert wrong == []
