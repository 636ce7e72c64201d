"""The contract that stores are held to, here ours."""

from tenantconfig.model import Policy
from tenantconfig.plan import Claim
from tenantconfig.testing import StoreContract, owner


class TestOurStores(StoreContract):
    """Each store in turn: see the fixture `world`."""


def test_a_claim_covers_itself_its_former_selves_and_what_it_adopts() -> None:
    claim = Claim(owner(), adopt="cluster-1/acme/left/uid-7")
    covered = [owner(), owner(uid="uid-2"), "cluster-1/acme/left/uid-7"]
    strangers = ["", owner("check"), owner(cluster="cluster-2"), "cluster-1/acme/left/uid-8", "cluster-1/acme/checkout"]
    assert [each for each in covered + strangers if claim.covers(each)] == covered
    assert Claim(owner(), adopt="unowned").covers("")
    assert not Claim(owner()).covers("")


def test_policies_have_the_names_that_manifests_use() -> None:
    assert {each.value for each in Policy} == {"Enforce", "Seed", "Observe"}
