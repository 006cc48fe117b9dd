"""The description: layers, origins, and faults that are told in one line."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xdc_testbed.errors import WrongUsage
from xdc_testbed.testbed import description
from xdc_testbed.testbed.description import Explained, flat, load, merge

NOTHING: dict[str, str] = {}


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Loads a description that consists of the given TOML text."""

    def load_text(text: str, **flags: Any) -> Explained:
        file = tmp_path / "testbed.toml"
        file.write_text(text)
        return load(file, **({"environ": NOTHING} | flags))

    return load_text


def fault(written: Any, text: str) -> WrongUsage:
    """What the user is told about this TOML text."""
    with pytest.raises(WrongUsage) as caught:
        written(text)
    return caught.value


# -- layers -----------------------------------------------------------------------------------------------------------


def test_without_a_file_the_profile_demo_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    explained = load(environ=NOTHING)
    assert (explained.description.profile, explained.description.name) == ("demo", "demo")
    assert explained.description.nodes["desy-stream"].groups == ("token_issuer", "kafka", "event_router")


def test_the_file_in_the_current_folder_is_taken_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("testbed.toml").write_text('name = "mine"')
    explained = load(environ=NOTHING)
    assert (explained.description.name, explained.origins["name"]) == ("mine", "testbed.toml")


def test_a_testbed_is_named_after_its_profile_when_it_has_no_name(written: Any) -> None:
    assert written('profile = "minimal"').description.name == "minimal"


def test_a_file_changes_one_value_of_a_node_and_leaves_the_others(written: Any) -> None:
    before = written("").description.nodes["desy-stream"]
    after = written("nodes.desy-stream.memory = 3000").description.nodes["desy-stream"]
    assert after == before.model_copy(update={"memory": 3000})


def test_a_file_adds_a_node_to_those_of_the_profile(written: Any) -> None:
    nodes = written('[nodes.third-storage]\nsite = "third"\ngroups = ["xrootd"]').description.nodes
    assert list(nodes)[-1] == "third-storage"
    assert len(nodes) == 7


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(written: Any) -> None:
    environment = {"XDC_NAME": "from-environment", "XDC_PROFILE": "minimal"}
    explained = written('name = "from-file"\nprofile = "demo"', environ=environment, name="from-flag")
    assert (explained.description.name, explained.origins["name"]) == ("from-flag", "command line")
    assert (explained.description.profile, explained.origins["profile"]) == ("minimal", "environment")


def test_every_value_has_an_origin(written: Any) -> None:
    explained = written('strategy = "linear"\nnodes.desy-client.memory = 500\nvars.xrootd_https_port = 9443')
    origins = explained.origins
    assert set(origins) == set(flat(explained.description.model_dump()))
    assert origins["domain"] == "default"
    assert origins["nodes.desy-client.site"] == "profile demo"
    own = {key for key, origin in origins.items() if origin.endswith("testbed.toml")}
    assert own == {"strategy", "nodes.desy-client.memory", "vars.xrootd_https_port"}


@pytest.mark.parametrize("profile", description.profiles())
def test_every_profile_of_the_kit_is_a_whole_description(tmp_path: Path, profile: str) -> None:
    (tmp_path / "empty.toml").touch()
    made = load(tmp_path / "empty.toml", profile=profile, environ=NOTHING).description
    assert made.nodes
    places_to_work_from = {"client", "openstack"}
    assert places_to_work_from & {group for node in made.nodes.values() for group in node.groups}


def test_a_description_survives_the_state_file(written: Any) -> None:
    made = written("nodes.desy-client.cpus = 0.5").description
    assert description.Description.model_validate(json.loads(made.model_dump_json())) == made


# -- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('strtegy = "linear"', "unknown key 'strtegy'; did you mean 'strategy'?"),
        ("nodes.desy-client.memroy = 100", "unknown key 'nodes.desy-client.memroy'; did you mean 'memory'?"),
        ('podman.subnett = "auto"', "unknown key 'podman.subnett'; did you mean 'subnet'?"),
        ("vars.xrootd_https_prt = 1", "unknown key 'vars.xrootd_https_prt'; did you mean 'xrootd_https_port'?"),
        ('[nodes.a]\nsite = "a"\ngroups = ["kafak"]', "nodes.a.groups: unknown group 'kafak'; did you mean 'kafka'?"),
        ('profile = "dmeo"', "unknown profile 'dmeo'; did you mean 'demo'?"),
        ('[nodes.a]\ngroups = ["kafka"]', "missing key 'nodes.a.site'"),
    ],
)
def test_a_wrong_word_is_told_with_the_nearest_right_one(written: Any, text: str, told: str) -> None:
    assert fault(written, text).message == told


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("nodes.desy-client.memory = 1", "nodes.desy-client.memory"),
        ('nodes.desy-client.cpus = "many"', "nodes.desy-client.cpus"),
        ('driver = "vagrant"', "driver"),
        ('name = "Big Name"', "name"),
        ('[nodes.Upper]\nsite = "a"\ngroups = []', "nodes"),
        ('[nodes.a]\nsite = "a_b"\ngroups = []', "nodes.a.site"),
        ("vars = 3", "vars"),
    ],
)
def test_a_wrong_value_is_told_with_its_key(written: Any, text: str, key: str) -> None:
    assert fault(written, text).message.startswith(f"{key}: ")


def test_a_word_like_nothing_known_gets_no_suggestion(written: Any) -> None:
    assert fault(written, "qqqqqqqq = 1").message == "unknown key 'qqqqqqqq'"


def test_an_unknown_group_is_told_with_all_that_can_be_chosen(written: Any) -> None:
    remedy = fault(written, '[nodes.a]\nsite = "a"\ngroups = ["nothing"]').remedy or ""
    assert "xrootd" in remedy
    assert "pki" not in remedy  # comes to every node by itself


def test_a_fault_of_syntax_is_one_line_with_file_and_line(written: Any) -> None:
    message = fault(written, 'name = "a"\nprofile = = 3').message
    assert "testbed.toml" in message
    assert "line 2" in message
    assert "\n" not in message


def test_a_file_that_is_not_text_is_told_as_such(tmp_path: Path) -> None:
    file = tmp_path / "testbed.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WrongUsage, match="is not TOML"):
        load(file, environ=NOTHING)


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="no such description file"):
        load(tmp_path / "absent.toml", environ=NOTHING)


_WORDS = st.text("abcdefgh-_\n\"' .", max_size=8)
_VALUES = st.recursive(
    st.booleans() | st.integers(-(2**40), 2**40) | _WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_WORDS, inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=25)
@given(st.dictionaries(st.sampled_from(["name", "driver", "podman", "nodes", "vars", "domain"]) | _WORDS, _VALUES))
def test_whatever_a_file_says_is_either_taken_or_told_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_text("\n".join(f"{json.dumps(key)} = {_inline(value)}" for key, value in tree.items()))
    assert "\n" not in _told(file)


def _told(file: Path) -> str:
    try:
        load(file, environ=NOTHING)
    except WrongUsage as error:
        return error.message
    return "taken"


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value)


# -- merging ----------------------------------------------------------------------------------------------------------

_KEYS = st.sampled_from("abc")
_TREES = st.dictionaries(
    _KEYS, st.recursive(st.integers(), lambda inner: st.dictionaries(_KEYS, inner, max_size=3), max_leaves=6)
)


@given(_TREES, _TREES)
def test_every_value_of_the_later_layer_is_in_the_merged_tree(earlier: dict[str, Any], later: dict[str, Any]) -> None:
    merged: dict[str, Any] = {}
    merge(merged, earlier)
    merge(merged, later)
    for path, value in _leaves(later):
        assert _at(merged, path) == value


@given(_TREES, _TREES)
def test_a_value_of_the_earlier_layer_stays_unless_the_later_one_speaks_of_it(
    earlier: dict[str, Any], later: dict[str, Any]
) -> None:
    merged: dict[str, Any] = {}
    merge(merged, earlier)
    merge(merged, later)
    for path, value in _leaves(earlier):
        if not _speaks_of(later, path):
            assert _at(merged, path) == value


@given(st.lists(_TREES, max_size=4))
def test_merging_leaves_the_layers_as_they_were(layers: list[dict[str, Any]]) -> None:
    before = copy.deepcopy(layers)
    merged: dict[str, Any] = {}
    for layer in layers:
        merge(merged, layer)
    assert layers == before


@given(_TREES)
def test_merging_a_tree_with_itself_changes_nothing(tree: dict[str, Any]) -> None:
    merged: dict[str, Any] = {}
    merge(merged, tree)
    merge(merged, tree)
    assert merged == tree


def _leaves(tree: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            found += _leaves(value, (*path, key))
        else:
            found.append(((*path, key), value))
    return found


def _speaks_of(tree: Any, path: tuple[str, ...]) -> bool:
    """Whether a tree has anything at this path, or a value on the way to it."""
    if not path or not isinstance(tree, dict):
        return True
    return path[0] in tree and _speaks_of(tree[path[0]], path[1:])


def _at(tree: dict[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = tree
    for key in path:
        value = value[key]
    return value


def test_a_node_with_groups_of_two_images_is_refused_with_both_names(written: Any) -> None:
    error = fault(written, '[nodes.both]\nsite = "desy"\ngroups = ["kafka", "openstack"]\n')
    assert error.message == "nodes.both.groups: kafka and openstack are in different images"
