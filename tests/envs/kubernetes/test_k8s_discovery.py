"""In which version an API server is spoken to, and that nothing is overlooked for want of one."""

import pytest
from oracles.server_rules import HPAS

from podgym.envs.kubernetes.answers import MissingError
from podgym.envs.kubernetes.kinds import HPA, SCALED_OBJECT
from podgym.envs.kubernetes.ownership import find_owners, hand_back, stopped_state, take_over
from podgym.errors import InputError

OLDER = "autoscaling/v2beta2/horizontalpodautoscalers"
SPEC = {
    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
    "minReplicas": 1,
    "maxReplicas": 5,
    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 123}},
}


def serve_hpas_as(server, resource):
    """Let the server be of a release that serves HPAs in another version."""
    server.app.resources[resource] = server.app.resources.pop(HPAS)


def test_the_newest_version_is_taken_and_asked_for_once(api_for, server):
    api = api_for()
    server.put(HPAS, "demo", "web", {"spec": SPEC})
    for _ in range(2):
        assert len(api.list_objects(HPA, "demo")) == 1
    assert server.lines().count("GET /apis") == 1


def test_p11_a_hpa_of_an_older_server_is_seen_stopped_and_given_back(api_for, server):
    serve_hpas_as(server, OLDER)
    server.put(OLDER, "demo", "web", {"spec": SPEC})
    api = api_for()
    (owner,) = owners = find_owners(api, api.deployment("demo", "web"))
    assert (owner.name, owner.max_replicas) == ("web", 5)
    take_over(api, owners)
    behavior = server.get(OLDER, "demo", "web")["spec"]["behavior"]
    assert behavior["scaleUp"]["selectPolicy"] == behavior["scaleDown"]["selectPolicy"] == "Disabled"
    hand_back(api, stopped_state(owners))
    assert server.get(OLDER, "demo", "web")["spec"]["behavior"] == SPEC["behavior"]


def test_p11_a_server_whose_hpas_cannot_be_read_is_refused(api_for, server):
    """It may have some; to go on would be to fight them."""
    serve_hpas_as(server, "autoscaling/v1/horizontalpodautoscalers")
    api = api_for()
    with pytest.raises(InputError, match="serves autoscaling as v1, not as v2 or v2beta2"):
        find_owners(api, api.deployment("demo", "web"))
    with pytest.raises(InputError, match="could not be seen"):
        api.permissions(["demo"])
    assert server.writes == []


def test_p11_an_owner_that_goes_on_although_it_was_told_to_stop_is_refused(api_for, server):
    """A server that does not know the field drops it and answers 200."""
    server.put(HPAS, "demo", "web", {"spec": SPEC})
    api = api_for()
    owners = find_owners(api, api.deployment("demo", "web"))
    server.fail("PATCH", "/horizontalpodautoscalers/web$", 200, body=server.get(HPAS, "demo", "web"))
    with pytest.raises(InputError, match=r"goes on: .* did not keep it"):
        take_over(api, owners)
    assert server.get(HPAS, "demo", "web")["spec"] == SPEC


def test_a_custom_kind_in_a_version_that_is_not_known_is_none(api_for, server):
    server.app.resources["keda.sh/v2/somethings"] = server.app.resources[HPAS]
    assert api_for().list_objects(SCALED_OBJECT, "demo") == ()


def test_a_server_that_hides_what_it_serves_is_asked_all_the_same(api_for, server):
    server.put(HPAS, "demo", "web", {"spec": SPEC})
    server.fail("GET", "^/apis/?$", 403)
    api = api_for()
    assert len(api.list_objects(HPA, "demo")) == 1
    assert api.list_objects(SCALED_OBJECT, "demo") == ()


def test_p11_hpas_that_are_not_there_on_such_a_server_are_no_answer(api_for, server):
    server.fail("GET", "^/apis/?$", 403)
    server.fail("GET", "/horizontalpodautoscalers$", 404)
    with pytest.raises(MissingError):
        api_for().list_objects(HPA, "demo")
