"""Contenders as they are typed."""

import pytest

from podgym.errors import InputError
from podgym.eval.contenders import Contender, parse_contenders


def test_a_name_alone() -> None:
    assert parse_contenders(["hpa", "static"]) == (Contender("hpa", "hpa"), Contender("static", "static"))


def test_options_are_typed_by_their_text() -> None:
    (hpa,) = parse_contenders(["hpa:cpu_target_percent=60,tolerance=0.05,memory_target_percent=none"])
    assert hpa.options == {"cpu_target_percent": 60, "tolerance": 0.05, "memory_target_percent": None}
    assert hpa.label == "hpa"


def test_the_same_controller_twice_is_told_apart_by_its_options() -> None:
    both = parse_contenders(["static:replicas=4", "static:replicas=8", "static"])
    assert [each.label for each in both] == ["static replicas=4", "static replicas=8", "static"]


def test_extra_options_go_where_they_fit() -> None:
    hpa, static = parse_contenders(["hpa", "static"], {"replicas": 7})
    assert hpa.options == {}
    assert static.options == {"replicas": 7}
    (given,) = parse_contenders(["static:replicas=3"], {"replicas": 7})
    assert given.options == {"replicas": 3}


@pytest.mark.parametrize(
    ("texts", "extra", "hint"),
    [
        (["hpaa"], {}, "Did you mean 'hpa'"),
        (["hpa:cpu_target=60"], {}, "Did you mean 'cpu_target_percent'"),
        (["hpa:cpu_target_percent"], {}, "NAME:OPTION=VALUE"),
        (["hpa:cpu_target_percent=0"], {}, "percent >= 1"),
        (["hpa", "hpa"], {}, "named twice"),
        (["hpa"], {"replicas": 4}, "replicas=4 is of no use"),
    ],
)
def test_what_cannot_be_understood_is_refused(texts: list[str], extra: dict[str, int], hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        parse_contenders(texts, extra)
