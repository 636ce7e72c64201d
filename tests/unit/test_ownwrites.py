"""Own writes are known by where they went, and for as long as their events may come."""

from tenantconfig.model import Scope
from tenantconfig.ownwrites import KEPT_SECONDS, OwnWrites

SCOPE = Scope("acme")


def test_what_left_its_old_place_is_still_known_at_its_new_one() -> None:
    own = OwnWrites(lambda: 0.0)
    own.note("ssm", "/new", "ssm/2", SCOPE, "a", "1")
    own.note("ssm", "/old", "ssm/1", SCOPE, "a", "")
    new, old = own.find("ssm", "/new", SCOPE, "a"), own.find("ssm", "/old", SCOPE, "a")
    assert new
    assert old
    assert ((new.location, new.mark), (old.location, old.mark)) == (("ssm/2", "1"), ("ssm/1", ""))
    assert own.find("dynamodb", "/new", SCOPE, "a") is None
    assert own.find("ssm", "/new", Scope("globex"), "a") is None


def test_what_is_old_is_forgotten() -> None:
    now = [0.0]
    own = OwnWrites(lambda: now[0])
    for number in range(100):
        own.note("ssm", "/p", "ssm/1", SCOPE, str(number), "1")
    now[0] = KEPT_SECONDS
    assert own.find("ssm", "/p", SCOPE, "1") is None
    own.note("ssm", "/p", "ssm/1", SCOPE, "new", "1")
    assert len(own._writes) == 1
