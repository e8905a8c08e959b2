"""What is said of a name that does not exist."""

from harness.base.suggestions import SHORT, did_you_mean, nearest, not_among


def test_the_nearest_come_first_whatever_their_case() -> None:
    assert nearest("INT88", ["binary", "int4", "int8", "pq"]) == ["int8", "int4"]
    assert nearest("scifact", ["SciFact", "NFCorpus"]) == ["SciFact"]
    assert nearest("zzz", ["int8"]) == []
    assert nearest("a1", ["a2", "a3", "a4", "a5"], 2) == nearest("a1", ["a2", "a3", "a4", "a5"])[:2]


def test_the_question_names_all_of_them() -> None:
    assert did_you_mean([]) == ""
    assert did_you_mean(["a"]) == "; did you mean 'a'?"
    assert did_you_mean(["a", "b", "c"]) == "; did you mean 'a', 'b' or 'c'?"


def test_a_short_list_is_shown_and_a_long_one_pointed_to() -> None:
    short = [f"name{number}" for number in range(SHORT)]
    assert not_among("nam0", short, "list") == f"'nam0'; did you mean 'name0'? There are: {', '.join(short)}"
    assert not_among("zzz", short[:2], "list", "It has") == "'zzz'. It has: name0, name1"
    long = [*short, "another"]
    assert not_among("zzz", long, "vecbudget list") == f"'zzz'; 'vecbudget list' shows all {len(long)}"
    assert not_among("anothr", long, "vecbudget list").startswith("'anothr'; did you mean 'another'? 'vecbudget list' ")
    assert not_among("zzz", [], "list") == "'zzz'"
