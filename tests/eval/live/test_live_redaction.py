"""What must not reach a file: secrets in the words and in the output of a load command."""

import shlex

import pytest

from podgym.eval.live.redaction import public_output, public_words


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("x --auth tom:hunter2", "x --auth ***"),
        ("x --auth=tom:hunter2", "x --auth=***"),
        ("curl -u tom:hunter2 http://h/", "curl -u *** http://h/"),
        ("curl -utom:hunter2", "curl -u***"),
        ("hey -a tom:hunter2", "hey -a ***"),
        ("x --user tom:hunter2 --user=tom:hunter2", "x --user *** --user=***"),
        ("curl -H 'X-Auth: hunter2'", "curl -H 'X-Auth: ***'"),
        ("curl -H 'X-Mine: hunter2 too'", "curl -H 'X-Mine: ***'"),
        ("curl '-HX-Mine: hunter2'", "curl '-HX-Mine:***'"),
        ("curl '--header=X-Mine: hunter2'", "curl '--header=X-Mine:***'"),
        ("x 'Authorization: Bearer hunter2'", "x Authorization:***"),
        ("x --pass hunter2 --pwd=hunter2", "x --pass *** --pwd=***"),
        ("env DB_PASS=hunter2 PGPASSWORD=hunter2 x", "env DB_PASS=*** PGPASSWORD=*** x"),
        ("x --key hunter2 --api-key=hunter2", "x --key *** --api-key=***"),
        ("x --token hunter2-token --seed 3", "x --token *** --seed 3"),
        ("sh -c 'x --pass hunter2 http://tom:hunter2@h/'", "sh -c 'x --pass *** http://h/'"),
        ("sh -c 'curl -u tom:hunter2 -H \"X-Mine: hunter2\" h'", "sh -c 'curl -u *** -H \"X-Mine: ***\" h'"),
    ],
)
def test_secrets_are_hidden(typed, shown):
    found = public_words(shlex.split(typed))
    assert "hunter2" not in " ".join(found)
    assert found == shlex.split(shown)


@pytest.mark.parametrize(
    "typed",
    ["python -u deploy/load/run.py --scenario burst --scale 0.1 --latency-s 0.097 --url http://localhost:8080",
     "locust -H http://h:8080 --author me --keep-alive --passes 3", "x -u 3 -a b", "x --monkey 4"],
)  # fmt: skip
def test_what_is_no_secret_is_shown(typed):
    assert public_words(shlex.split(typed)) == shlex.split(typed)


@pytest.mark.parametrize(
    "text",
    ["401 for auth='tom:hunter2'", "X-Auth: hunter2", "Authorization: Bearer hunter2", "bearer hunter2",
     "GET http://tom:hunter2@h/a?k=hunter2", "usage: x --pass hunter2", "{'password': 'hunter2'}"],
)  # fmt: skip
def test_secrets_in_output_are_hidden(text):
    shown = public_output(f"failed: {text} (status 3)", ["x"])
    assert "hunter2" not in shown
    assert shown.startswith("failed: ")


def test_what_was_typed_as_a_secret_is_hidden_wherever_it_is_printed():
    words = ["x", "--auth", "tom:hunter2", "--seed", "3", "-H", "X-Mine: swordfish"]
    text = "tom said hunter2 to port 80, and swordfish, 3 times: no route to host"
    assert public_output(text, words) == "tom said *** to port 80, and ***, 3 times: no route to host"
