"""The contract by example: what every store does, whatever is behind it."""
# ruff: noqa: S101  # assert is how a test speaks

from concurrent.futures import ThreadPoolExecutor

import pytest

from tenantconfig.errors import Conflict, Reason, Stalled
from tenantconfig.model import Format, Scope, Value
from tenantconfig.plan import Changes, Desired, plan
from tenantconfig.stores.base import Applied
from tenantconfig.testing.world import LONGEST_SCOPE, Resource, World, enforce, new_scope, observe, owner, seed

LONGEST_KEY = "k" * 196 + "._-Z"


def settled(resource: Resource, world: World) -> None:
    """Nobody owns anything of the scope any more."""
    assert world.owners(resource.scope) == {}


class Examples:
    """Needs the fixtures `world` and `resource`."""

    # Reading and writing

    def test_a_fresh_store_is_empty(self, resource: Resource) -> None:
        contents = resource.read(enforce("a", "1"), seed("b", "2"), observe("c"))
        assert (contents.held, contents.head) == ({}, None)

    def test_a_usable_store_passes_its_probe(self, world: World) -> None:
        world.store.probe()

    @pytest.mark.parametrize(
        ("text", "format"),
        [
            ("https://pay.acme.example", Format.TEXT),
            ('{"a":[1,null,true],"b":"x"}', Format.JSON),
            ("Zürich – 東京 🗼 \u0301", Format.TEXT),
            ("  spaces, \ttabs and\r\nlines\n", Format.TEXT),
            ("500", Format.JSON),
            ("500", Format.TEXT),
            ("x" * 4096, Format.TEXT),
        ],
        ids=["text", "json", "unicode", "whitespace", "number", "digits", "4 KB"],
    )
    def test_what_is_created_reads_back_and_needs_nothing_more(
        self, world: World, resource: Resource, text: str, format: Format
    ) -> None:
        acknowledged = resource.bring(enforce("key", text, format))
        read = resource.read(enforce("key", text, format)).held
        assert read["key"].text == text
        assert read["key"].matches(Value(text, format))
        assert acknowledged == read
        assert world.texts(resource.scope) == {"key": text}

    @pytest.mark.parametrize("key", [LONGEST_KEY, "0", "_", "-", "a.b.c", "UPPER", "upper"])
    def test_any_key_that_a_resource_may_have_is_stored_under_its_own_name(
        self, world: World, resource: Resource, key: str
    ) -> None:
        assert not world.store.refuses(LONGEST_SCOPE, key, Value("1"))
        resource.bring(enforce(key, "1"))
        assert world.texts(resource.scope) == {key: "1"}

    def test_keys_that_differ_in_case_alone_are_two(self, world: World, resource: Resource) -> None:
        resource.bring(enforce("UPPER", "1"), enforce("upper", "2"))
        assert world.texts(resource.scope) == {"UPPER": "1", "upper": "2"}

    def test_an_update_changes_the_changed_key_alone(self, world: World, resource: Resource) -> None:
        before = resource.bring(enforce("a", "1"), enforce("b", "1"))
        changes = resource.plan(enforce("a", "2"), enforce("b", "1"))
        assert [put.key for put in changes.puts] == ["a"]
        assert (changes.deletes, changes.claims, changes.releases) == ((), (), ())

        after = resource.bring(enforce("a", "2"), enforce("b", "1"))
        assert world.texts(resource.scope) == {"a": "2", "b": "1"}
        assert after["b"] == before["b"]
        assert after["a"].version != before["a"].version

    def test_an_acknowledgement_says_what_a_fresh_read_would(self, resource: Resource) -> None:
        resource.bring(enforce("a", "1"), enforce("b", "1"))
        changes = resource.plan(enforce("a", "2"), enforce("c", "1"))
        applied = resource.apply(changes)
        assert applied.error is None
        assert applied.deleted == {"b"}
        fresh = resource.read(enforce("a", "2"), enforce("c", "1")).held
        assert {key: fresh[key] for key in ("a", "c")} == applied.held
        assert "b" not in fresh

    def test_an_acknowledgement_says_what_was_let_go(self, world: World, resource: Resource) -> None:
        resource.bring(seed("a", "1"), enforce("b", "1"), enforce("c", "1"))
        world.overwrite(resource.scope, "a", "theirs")
        changes = resource.plan(observe("b"), enforce("c", "1"))
        assert set(changes.releases) == {"a", "b"}
        assert resource.apply(changes).released == {"a", "b"}
        assert world.owners(resource.scope).keys() - {""} == {"c"}

    def test_the_same_wishes_again_change_nothing(self, resource: Resource) -> None:
        wishes = (enforce("a", "1"), enforce("j", "1", Format.JSON), seed("b", "1"), observe("c"))
        resource.bring(*wishes)
        assert not resource.plan(*wishes)

    def test_changes_without_content_are_false(self, resource: Resource) -> None:
        assert not Changes("owner")
        assert resource.plan(enforce("a", "1"))

    def test_a_value_that_someone_changed_is_put_back(self, world: World, resource: Resource) -> None:
        resource.bring(enforce("a", "1"), enforce("b", "1"))
        world.overwrite(resource.scope, "a", "theirs")
        resource.bring(enforce("a", "1"), enforce("b", "1"))
        assert world.texts(resource.scope) == {"a": "1", "b": "1"}
        assert not resource.plan(enforce("a", "1"), enforce("b", "1"))

    def test_a_value_that_someone_deleted_is_made_again(self, world: World, resource: Resource) -> None:
        resource.bring(enforce("a", "1"), enforce("b", "1"))
        world.remove(resource.scope, "a")
        resource.bring(enforce("a", "1"), enforce("b", "1"))
        assert world.texts(resource.scope) == {"a": "1", "b": "1"}
        assert not resource.plan(enforce("a", "1"), enforce("b", "1"))

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (("prod", "checkout"), ("prod", "billing")),
            (("prod", "checkout"), ("test", "checkout")),
            (("prod", ""), ("prod", "checkout")),
            (("", "checkout"), ("prod", "checkout")),
            (("", ""), ("prod", "")),
        ],
        ids=["service", "environment", "without service", "without environment", "without both"],
    )
    def test_scopes_of_one_tenant_do_not_touch(
        self, world: World, one: tuple[str, str], other: tuple[str, str]
    ) -> None:
        tenant = new_scope().tenant
        first = Resource(world.store, Scope(tenant, *one), owner("first"))
        second = Resource(world.store, Scope(tenant, *other), owner("second"))
        first.bring(enforce("a", "first"))
        second.bring(enforce("a", "second"))
        first.bring()
        assert world.texts(first.scope) == {}
        assert world.texts(second.scope) == {"a": "second"}

    # Removing

    def test_an_entry_that_is_no_longer_wanted_goes(self, world: World, resource: Resource) -> None:
        resource.bring(enforce("a", "1"), enforce("b", "1"))
        resource.bring(enforce("b", "1"))
        assert world.texts(resource.scope) == {"b": "1"}
        assert not resource.plan(enforce("b", "1"))

    def test_removal_leaves_what_is_not_ours(self, world: World, resource: Resource) -> None:
        world.overwrite(resource.scope, "theirs", "1")
        resource.bring(enforce("ours", "1"), observe("theirs"))
        resource.bring()
        assert world.texts(resource.scope) == {"theirs": "1"}
        settled(resource, world)

    def test_removal_that_was_interrupted_before_its_status_finds_what_it_wrote(
        self, world: World, resource: Resource
    ) -> None:
        applied = resource.apply(resource.plan(enforce("a", "1"), enforce("b", "1")))
        assert applied.error is None
        desired = (enforce("a", ""), enforce("b", ""))
        forgetful = Resource(world.store, resource.scope)
        claim = forgetful.claim(())
        contents = world.store.read(resource.scope, {each.key for each in desired}, claim)
        forgetful.apply(plan((), contents, claim))
        assert world.texts(resource.scope) == {}
        settled(resource, world)

    def test_retain_leaves_the_values_and_no_owner(self, world: World, resource: Resource) -> None:
        resource.bring(enforce("a", "1"), seed("b", "2"))
        resource.retain()
        assert world.texts(resource.scope) == {"a": "1", "b": "2"}
        settled(resource, world)

    def test_retain_with_nothing_left_changes_nothing(self, resource: Resource) -> None:
        resource.bring(enforce("a", "1"))
        resource.bring()
        assert resource.apply(plan((), resource.read(), resource.claim(()))) == Applied()

    def test_an_entry_that_someone_deleted_does_not_keep_the_scope_owned_after_removal(
        self, world: World, resource: Resource
    ) -> None:
        resource.bring(enforce("a", "1"))
        world.remove(resource.scope, "a")
        resource.bring()
        settled(resource, world)

    # Policies

    def test_seed_creates_what_is_absent_and_never_updates_it(self, world: World, resource: Resource) -> None:
        assert resource.bring(seed("a", "1"))["a"].text == "1"
        assert not resource.plan(seed("a", "2"))
        world.overwrite(resource.scope, "a", "theirs")
        assert resource.bring(seed("a", "1"))["a"].text == "theirs"
        assert world.texts(resource.scope) == {"a": "theirs"}

    def test_seed_leaves_what_was_there_before(self, world: World, resource: Resource) -> None:
        world.overwrite(resource.scope, "a", "theirs")
        assert resource.bring(seed("a", "1"))["a"].text == "theirs"
        resource.bring()
        assert world.texts(resource.scope) == {"a": "theirs"}
        settled(resource, world)

    def test_a_seed_that_was_deleted_is_planted_again(self, world: World, resource: Resource) -> None:
        resource.bring(seed("a", "1"))
        world.remove(resource.scope, "a")
        assert resource.bring(seed("a", "2"))["a"].text == "2"

    def test_a_seed_that_nobody_changed_goes_with_its_entry(self, world: World, resource: Resource) -> None:
        resource.bring(seed("a", "1"), enforce("b", "1"))
        resource.bring(enforce("b", "1"))
        assert world.texts(resource.scope) == {"b": "1"}

    def test_a_seed_that_someone_changed_stays_without_an_owner(self, world: World, resource: Resource) -> None:
        resource.bring(seed("a", "1"), enforce("b", "1"))
        world.overwrite(resource.scope, "a", "theirs")
        resource.bring(seed("a", "1"), enforce("b", "1"))
        resource.bring()
        assert world.texts(resource.scope) == {"a": "theirs"}
        settled(resource, world)

    def test_observe_writes_nothing(self, world: World, resource: Resource) -> None:
        world.overwrite(resource.scope, "there", "theirs")
        held = resource.bring(observe("there"), observe("absent"))
        assert {key: each.text for key, each in held.items()} == {"there": "theirs"}
        assert not resource.plan(observe("there"), observe("absent"))
        resource.bring()
        assert world.texts(resource.scope) == {"there": "theirs"}
        settled(resource, world)

    def test_observing_what_another_resource_owns_is_no_conflict(self, world: World, resource: Resource) -> None:
        Resource(world.store, resource.scope, owner("other")).bring(enforce("a", "theirs"))
        assert resource.bring(observe("a"))["a"].text == "theirs"

    @pytest.mark.parametrize("former", [enforce("a", "1"), seed("a", "1")], ids=["Enforce", "Seed"])
    def test_what_becomes_observed_stays_and_is_nobodys_after_removal(
        self, world: World, resource: Resource, former: Desired
    ) -> None:
        resource.bring(former)
        resource.bring(observe("a"))
        resource.bring()
        assert world.texts(resource.scope) == {"a": "1"}
        settled(resource, world)

    def test_what_was_observed_becomes_enforced_only_by_adoption(self, world: World, resource: Resource) -> None:
        world.overwrite(resource.scope, "a", "theirs")
        resource.bring(observe("a"))
        with pytest.raises(Stalled) as caught:
            resource.plan(enforce("a", "ours"))
        assert caught.value.reason is Reason.NOT_OWNED
        resource.adopt = "unowned"
        resource.bring(enforce("a", "ours"))
        assert world.texts(resource.scope) == {"a": "ours"}

    def test_what_was_seeded_may_become_enforced(self, world: World, resource: Resource) -> None:
        resource.bring(seed("a", "1"))
        resource.bring(enforce("a", "2"))
        assert world.texts(resource.scope) == {"a": "2"}
        resource.bring()
        assert world.texts(resource.scope) == {}
        settled(resource, world)

    # Seeds that come from another store, where others had changed them

    def test_a_seed_that_is_carried_as_nobodys_is_created_without_an_owner(
        self, world: World, resource: Resource
    ) -> None:
        carried = seed("a", "theirs", owned=False)
        assert resource.bring(carried) == resource.read(carried).held
        assert world.texts(resource.scope) == {"a": "theirs"}
        settled(resource, world)
        assert not resource.plan(carried)
        assert not resource.plan(seed("a", "1"))

    def test_a_seed_that_was_carried_as_nobodys_stays_when_what_is_ours_goes(
        self, world: World, resource: Resource
    ) -> None:
        resource.bring(enforce("ours", "1"), seed("a", "theirs", owned=False))
        assert world.owners(resource.scope).keys() - {""} == {"ours"}
        resource.bring(seed("a", "1"))
        settled(resource, world)
        resource.bring()
        assert world.texts(resource.scope) == {"a": "theirs"}

    def test_a_seed_that_was_carried_as_nobodys_is_enforced_only_by_adoption(
        self, world: World, resource: Resource
    ) -> None:
        resource.bring(seed("a", "theirs", owned=False))
        with pytest.raises(Stalled) as caught:
            resource.plan(enforce("a", "ours"))
        assert caught.value.reason is Reason.NOT_OWNED
        resource.adopt = "unowned"
        resource.bring(enforce("a", "ours"))
        assert world.owners(resource.scope)["a"] == resource.owner

    def test_a_seed_that_is_carried_in_the_place_of_ours_that_someone_deleted_is_nobodys(
        self, world: World, resource: Resource
    ) -> None:
        resource.bring(enforce("ours", "1"), seed("a", "1"))
        world.remove(resource.scope, "a")
        resource.bring(enforce("ours", "1"), seed("a", "theirs", owned=False))
        assert world.owners(resource.scope).keys() - {""} == {"ours"}
        resource.bring()
        assert world.texts(resource.scope) == {"a": "theirs"}
        settled(resource, world)

    # Whose it is

    def test_a_scope_of_another_resource_is_refused_with_its_name(self, world: World, resource: Resource) -> None:
        other = Resource(world.store, resource.scope, owner("other", "uid-9"))
        other.bring(enforce("a", "theirs"))
        with pytest.raises(Stalled, match="cluster-1/acme/other/uid-9") as caught:
            resource.plan(enforce("a", "ours"))
        assert caught.value.reason is Reason.SCOPE_CONFLICT
        assert "theirs" not in caught.value.message
        assert "ours" not in caught.value.message

    def test_a_resource_of_the_same_name_in_another_cluster_is_a_stranger(
        self, world: World, resource: Resource
    ) -> None:
        there = owner(cluster="cluster-2")
        Resource(world.store, resource.scope, there).bring(enforce("a", "theirs"))
        with pytest.raises(Stalled, match=there) as caught:
            resource.plan(enforce("a", "ours"))
        assert caught.value.reason is Reason.SCOPE_CONFLICT

    def test_a_value_that_nobody_here_wrote_is_refused(self, world: World, resource: Resource) -> None:
        world.overwrite(resource.scope, "a", "theirs")
        with pytest.raises(Stalled, match=r"^a is in the store already") as caught:
            resource.plan(enforce("a", "ours"))
        assert caught.value.reason is Reason.NOT_OWNED
        assert "theirs" not in caught.value.message

    def test_a_value_that_nobody_here_wrote_is_refused_beside_ours_too(self, world: World, resource: Resource) -> None:
        resource.bring(enforce("a", "1"))
        world.overwrite(resource.scope, "b", "theirs")
        with pytest.raises(Stalled) as caught:
            resource.plan(enforce("a", "1"), enforce("b", "ours"))
        assert caught.value.reason is Reason.NOT_OWNED

    def test_unowned_values_are_adopted_on_request(self, world: World, resource: Resource) -> None:
        world.overwrite(resource.scope, "a", "theirs")
        resource.adopt = "unowned"
        resource.bring(enforce("a", "ours"))
        assert world.texts(resource.scope) == {"a": "ours"}
        assert world.owners(resource.scope)["a"] == resource.owner
        resource.adopt = ""
        assert not resource.plan(enforce("a", "ours"))
        resource.bring()
        assert world.texts(resource.scope) == {}
        settled(resource, world)

    def test_values_that_were_retained_are_adopted_as_they_are(self, world: World, resource: Resource) -> None:
        resource.bring(enforce("a", "1"))
        resource.retain()
        again = Resource(world.store, resource.scope, owner("again"), adopt="unowned")
        again.bring(enforce("a", "1"))
        assert world.owners(resource.scope)["a"] == again.owner
        again.adopt = ""
        again.bring()
        assert world.texts(resource.scope) == {}

    def test_another_owners_values_are_adopted_on_request_and_equal_ones_are_not_written(
        self, world: World, resource: Resource
    ) -> None:
        other = Resource(world.store, resource.scope, owner("other"))
        other.bring(enforce("same", "1"), enforce("different", "theirs"))
        resource.adopt = other.owner
        changes = resource.plan(enforce("same", "1"), enforce("different", "ours"))
        keys = [[put.key for put in puts] for puts in (changes.puts, changes.claims)]
        assert keys == [["different"], ["same"]]
        resource.bring(enforce("same", "1"), enforce("different", "ours"))
        assert set(world.owners(resource.scope).values()) == {resource.owner}
        resource.adopt = ""
        resource.bring()
        assert world.texts(resource.scope) == {}

    def test_adopting_one_owner_does_not_cover_another(self, world: World, resource: Resource) -> None:
        Resource(world.store, resource.scope, owner("other")).bring(enforce("a", "theirs"))
        resource.adopt = owner("third")
        with pytest.raises(Stalled, match=owner("other")):
            resource.plan(enforce("a", "ours"))

    def test_a_resource_made_again_under_its_name_takes_over_what_its_former_self_left(self, world: World) -> None:
        former = Resource(world.store, new_scope(), owner(uid="uid-1"))
        former.bring(enforce("a", "1"), enforce("b", "1"))
        now = Resource(world.store, former.scope, owner(uid="uid-2"))
        changes = now.plan(enforce("a", "1"), enforce("b", "2"))
        assert [put.key for put in changes.puts] == ["b"]
        now.bring(enforce("a", "1"), enforce("b", "2"))
        assert set(world.owners(now.scope).values()) == {now.owner}
        assert not now.plan(enforce("a", "1"), enforce("b", "2"))
        now.bring()
        assert world.texts(now.scope) == {}

    def test_observing_what_another_has_taken_over_leaves_it_theirs(self, world: World, resource: Resource) -> None:
        resource.bring(enforce("a", "1"))
        other = Resource(world.store, resource.scope, owner("other"), adopt=resource.owner)
        other.bring(enforce("a", "2"))
        resource.bring(observe("a"))
        assert world.texts(resource.scope) == {"a": "2"}
        assert world.owners(resource.scope)["a"] == other.owner

    @pytest.mark.parametrize("versions", [1, 3])
    def test_what_someone_deleted_and_made_again_is_put_back_as_ours(
        self, world: World, resource: Resource, versions: int
    ) -> None:
        for number in range(versions):
            resource.bring(enforce("a", str(number)))
        world.remove(resource.scope, "a")
        world.overwrite(resource.scope, "a", "theirs")
        resource.bring(enforce("a", "last"))
        assert world.texts(resource.scope) == {"a": "last"}
        if versions > 1 or not world.trusts_records:  # else its version is the one that is recorded
            assert world.owners(resource.scope)["a"] == resource.owner

    def test_a_thorough_read_finds_what_no_record_tells_of(self, world: World, resource: Resource) -> None:
        resource.bring(enforce("a", "1"), seed("b", "1"))
        world.overwrite(resource.scope, "theirs", "1")
        forgetful = Resource(world.store, resource.scope, thorough=True)
        assert forgetful.read(observe("c")).held.keys() >= {"a", "b"}
        forgetful.bring()
        assert world.texts(resource.scope) == {"theirs": "1"}
        settled(resource, world)

    # Written in the meantime

    def test_a_stale_update_is_a_conflict(self, world: World, resource: Resource) -> None:
        resource.bring(enforce("a", "1"), enforce("b", "1"))
        stale = resource.plan(enforce("b", "2"), enforce("a", "2"))
        resource.bring(enforce("a", "3"), enforce("b", "1"))
        applied = resource.apply(stale)
        assert isinstance(applied.error, Conflict)
        assert "a" not in applied.held
        if world.atomic:
            assert applied.held == {}
            assert world.texts(resource.scope) == {"a": "3", "b": "1"}

    def test_a_stale_creation_is_a_conflict_and_overwrites_nothing(self, world: World, resource: Resource) -> None:
        stale = resource.plan(enforce("b", "1"), enforce("a", "1"))
        world.overwrite(resource.scope, "a", "theirs")
        applied = resource.apply(stale)
        assert isinstance(applied.error, Conflict)
        assert "a" not in applied.held
        assert world.texts(resource.scope)["a"] == "theirs"
        if world.atomic:
            assert world.texts(resource.scope) == {"a": "theirs"}
            settled(resource, world)

    def test_a_seed_that_lost_the_race_is_present(self, world: World, resource: Resource) -> None:
        stale = resource.plan(seed("a", "1"))
        world.overwrite(resource.scope, "a", "theirs")
        assert isinstance(resource.apply(stale).error, Conflict)
        assert resource.bring(seed("a", "1"))["a"].text == "theirs"

    def test_a_stale_deletion_leaves_what_came_in_the_meantime(self, world: World, resource: Resource) -> None:
        if not world.guards_deletions:
            pytest.skip("this store has no precondition on deletion")
        resource.bring(seed("a", "1"), enforce("b", "1"))
        stale = resource.plan(enforce("b", "2"))
        world.overwrite(resource.scope, "a", "theirs")
        assert isinstance(resource.apply(stale).error, Conflict)
        assert world.texts(resource.scope) == {"a": "theirs", "b": "1"}

    def test_the_same_changes_twice_are_a_conflict_the_second_time(self, world: World, resource: Resource) -> None:
        changes = resource.plan(enforce("a", "1"))
        assert resource.apply(changes).error is None
        assert isinstance(resource.apply(changes).error, Conflict)
        assert world.texts(resource.scope) == {"a": "1"}

    def test_passes_over_many_scopes_at_once_do_not_disturb_each_other(self, world: World) -> None:
        resources = [Resource(world.store, new_scope()) for _ in range(8)]

        def passes(resource: Resource) -> None:
            for text in ("1", "2", "3"):
                resource.bring(enforce("a", text), enforce("b", resource.scope.tenant))

        with ThreadPoolExecutor(len(resources)) as threads:
            list(threads.map(passes, resources))
        for each in resources:
            assert world.texts(each.scope) == {"a": "3", "b": each.scope.tenant}

    # What leaks

    def test_no_value_shows_in_a_repr(self, resource: Resource) -> None:
        held = resource.bring(enforce("a", "hush"))
        changes = resource.plan(enforce("a", "hush2"), enforce("b", "hush3"))
        assert "hush" not in repr((held, changes, resource.read(enforce("a", "hush")), enforce("a", "hush")))

    def test_a_conflict_names_no_value(self, world: World, resource: Resource) -> None:
        stale = resource.plan(enforce("a", "hush"))
        world.overwrite(resource.scope, "a", "theirs")
        error = resource.apply(stale).error
        assert error is not None
        assert "hush" not in error.message
        assert "theirs" not in error.message

    # What is refused

    @pytest.mark.parametrize("text", ["x" * 4096, "0"], ids=["4 KB", "one character"])
    def test_ordinary_values_are_not_refused(self, world: World, text: str) -> None:
        assert world.store.refuses(LONGEST_SCOPE, "key", Value(text)) == ""

    def test_sensitive_values_are_taken_where_they_are_encrypted_alone(self, world: World) -> None:
        refusal = world.store.refuses(LONGEST_SCOPE, "key", Value("hush", sensitive=True))
        assert bool(refusal) is not world.takes_sensitive
        assert "hush" not in refusal

    def test_what_a_store_takes_of_sensitive_values_it_keeps_as_sensitive(
        self, world: World, resource: Resource
    ) -> None:
        if not world.takes_sensitive:
            pytest.skip("this store takes no sensitive values")
        wishes = (enforce("a", "hush", sensitive=True), enforce("b", "1"), observe("theirs"))
        world.create_sensitive(resource.scope, "theirs", "hush too")
        held = resource.bring(*wishes)
        assert {key for key, each in held.items() if each.sensitive} == {"a", "theirs"}
        assert world.sensitive(resource.scope) == {"a", "theirs"}
        assert not resource.plan(*wishes)

    @pytest.mark.parametrize(
        "text",
        ["", "a {{b}} c", "\x00", "x" * 4096, "ü" * 4096, "x" * 100_000, "x" * 1_000_000],
        ids=["empty", "braces", "control character", "4 KB", "8 KB", "100 KB", "1 MB"],
    )
    def test_what_is_not_refused_is_stored(self, world: World, text: str) -> None:
        scope = Scope(new_scope().tenant.ljust(63, "t"), LONGEST_SCOPE.environment, LONGEST_SCOPE.service)
        resource = Resource(world.store, scope)
        if refused := world.store.refuses(scope, LONGEST_KEY, Value(text)):
            assert not text or text not in refused
            assert "\n" not in refused, "it becomes part of a message"
        else:
            resource.bring(enforce(LONGEST_KEY, text))
            assert world.texts(scope) == {LONGEST_KEY: text}
            assert not resource.plan(enforce(LONGEST_KEY, text))

    def test_a_refusal_is_no_request_and_the_same_each_time(self, world: World) -> None:
        before = world.requests()
        for value in (Value("1"), Value("x" * 10_000_000), Value("hush", sensitive=True)):
            said = {world.store.refuses(LONGEST_SCOPE, "key", value) for _ in range(2)}
            assert len(said) == 1
        assert world.requests() == before
