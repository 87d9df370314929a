"""Publication on the Hugging Face Hub, with the real client against a Hub on the loopback (tests/hub_server.py)."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub_server
import huggingface_hub
import pytest
import safetensors.torch
import torch
import yaml
from hub_server import Fault, Hub, Repository
from huggingface_hub import constants, file_download

import zoo
from zoo import registry
from zoo.claims import CLAIM_KINDS, Cards
from zoo.cli import main
from zoo.cli import publish as command
from zoo.hub import publish as sending
from zoo.hub.address import Address
from zoo.hub.card import Publication, Statement
from zoo.registry import ZooError

# The client hands its uploads to httpx2 in a way that httpx2 has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

ORACLE, FLOAT64, REPO = "single_location.oracle", "deep_linear.mlp_lr002", "theory/oracle"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub on the loopback that this process's client talks to, with an account, a cache of its own and no patience."""
    with hub_server.running() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        template = f"{server.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
        monkeypatch.setattr(file_download, "_ETAG_RETRY_TIMEOUT", 1)
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
        monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
        yield server
        huggingface_hub.close_session()


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishes without figures, which take seconds to draw."""
    monkeypatch.setattr(command, "drawn", lambda *_: [])


def weights_of(*names: str) -> dict[str, Any]:
    return {name: command.read(name) for name in names}


def statements_of(system: registry.System, *tags: str) -> list[Statement]:
    """From the records, as if every claim had been skipped today."""
    cards = Cards(system)
    return [
        Statement(claim, cards.find(claim), None)
        for claim in system.part("claims").CLAIMS
        if not tags or set(tags) & set(claim.weights)
    ]


def publication(*names: str, repo: str = REPO) -> Publication:
    """What is published of some weights, without figures."""
    system = registry.system(names[0].split(".")[0])
    tags = [name.split(".")[1] for name in names]
    return Publication(repo, system, weights_of(*names), statements_of(system, *tags), [], len(names) == 1)


@pytest.fixture
def published(hub: Hub) -> str:
    """The oracle, published; its commit."""
    return sending.publish(REPO, publication(ORACLE).files(), "the oracle")[0]


def same(address: str, name: str) -> bool:
    """Whether every replica of a downloaded weight is the shipped one, bit for bit and in its dtype."""
    now, then = (zoo.load(one, replica="all").state_dict() for one in (address, name))
    return {key: bits(tensor) for key, tensor in now.items()} == {key: bits(tensor) for key, tensor in then.items()}


def bits(tensor: torch.Tensor) -> tuple[Any, ...]:
    """What makes two tensors the same, NaNs too."""
    return tensor.dtype, tensor.shape, tensor.detach().contiguous().numpy().tobytes()


# The command.


def test_publish_then_load_is_bit_equal_and_a_second_time_changes_nothing(
    hub: Hub, undrawn: None, capsys: pytest.CaptureFixture[str], root: Path
) -> None:
    arguments = ["publish", FLOAT64, "--repo", "theory/mlp", "--tag", "v1", "--private"]
    assert main(arguments) == 0
    repository = hub.repositories["theory/mlp"]
    assert repository.private and re.fullmatch(rf"{FLOAT64}: \d of \d claims hold", repository.messages[1])
    assert len(repository.commits) == 2, "the one that creates the repository, and one"
    shipped = registry.weight_file(FLOAT64)
    files = repository.files("main")
    assert files is not None
    assert files["model.safetensors"] == shipped.with_suffix(".safetensors").read_bytes()
    assert files["config.json"] == shipped.read_bytes(), "config.json is the record"
    for address in ("hf://theory/mlp", "hf://theory/mlp@v1", f"hf://theory/mlp@{repository.head}"):
        assert same(address, FLOAT64)
    assert zoo.record("hf://theory/mlp") == zoo.record(FLOAT64)
    parameter = next(zoo.load("hf://theory/mlp").parameters())
    assert parameter.dtype == torch.float64
    hubbed = torch.hub.load(str(root), FLOAT64.split(".")[0], source="local", weights="hf://theory/mlp@v1")
    assert bits(next(hubbed.parameters())) == bits(parameter)
    with pytest.raises(ZooError, match="is a weight of deep_linear, not of single_location"):
        torch.hub.load(str(root), "single_location", source="local", weights="hf://theory/mlp")

    before, head = list(hub.calls), repository.head
    capsys.readouterr()
    assert main(arguments) == 0
    assert "no change" in capsys.readouterr().out
    assert repository.head == head and len(repository.commits) == 2
    assert not {"commit", "preupload", "lfs-batch", "create", "tag"} & set(hub.calls[len(before) :])


def test_every_call_of_the_client_is_one_that_the_loopback_knows(hub: Hub) -> None:
    first = publication(ORACLE)
    sending.account()
    sending.publish(REPO, first.files(), "first", tag="v1")
    changed = dict(first.files()) | {"figures/old.png": b"one"}
    sending.publish(REPO, changed, "second")
    sending.publish(REPO, first.files(), "third removes the figure", private=False, tag="v3")
    assert zoo.load(f"hf://{REPO}@v3")
    assert "figures/old.png" not in (hub.repositories[REPO].files("main") or {})
    known = {
        "whoami",
        "create",
        "validate-yaml",
        "info",
        "tree",
        "refs",
        "preupload",
        "lfs-batch",
        "lfs-put",
        "lfs-verify",
    }
    known |= {"commit", "tag", "resolve-head", "resolve", "lfs-get"}
    assert set(hub.calls) == known


def test_a_process_of_its_own_publishes_loads_and_reloads_offline(tmp_path: Path, root: Path) -> None:
    """As a user has it: the Hub's address and the account from the environment, read when the client is imported."""
    with hub_server.running() as server:
        environment = os.environ | {
            "HF_ENDPOINT": server.endpoint,
            "HF_TOKEN": hub_server.TOKEN,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "PYTHONPATH": str(root),
        }

        def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
            line = [sys.executable, *arguments]
            return subprocess.run(
                line, cwd=tmp_path, env=environment | more, capture_output=True, text=True, timeout=300
            )

        name = "single_location.manifold"
        result = run("-m", "zoo", "publish", name, "--repo", REPO, "--tag", "v1")
        assert result.returncode == 0, result.stderr
        assert f"hf://{REPO}@v1" in result.stdout
        files = server.repositories[REPO].files("main") or {}
        assert files["figures/four_panels_manifold.png"][:4] == b"\x89PNG"
        assert b"](figures/four_panels_manifold.png)" in files["README.md"]
        load = "import sys, zoo\nfor one in sys.argv[1:]: "
        load += "print(zoo.load(one, 7).k.double().sum().item(), 'lightning' in sys.modules)"
        expected = f"{zoo.load(name, 7).k.double().sum().item()} False\n"
        assert run("-c", load, f"hf://{REPO}@v1").stdout == expected
        calls = len(server.calls)
        offline = run("-c", load, f"hf://{REPO}@v1", "hf://theory/other", HF_HUB_OFFLINE="1")
        assert offline.stdout == expected and len(server.calls) == calls
        assert "is not in the cache and the Hub is not reached (HF_HUB_OFFLINE is set)" in offline.stderr
    assert run("-c", load, f"hf://{REPO}@v1").stdout == expected, "the Hub is down: the cache serves"


def test_a_whole_system_has_a_folder_per_weight(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    names = [ORACLE, "single_location.softmax_oracle"]
    files = publication(*names, repo="theory/both").files()
    sending.publish("theory/both", files, "both", tag="v1")
    assert json.loads(files["config.json"]) == {"system": "single_location", "weights": ["oracle", "softmax_oracle"]}
    for name in names:
        tag = name.split(".")[1]
        assert same(f"hf://theory/both/{tag}@v1", name)
        assert f"hf://theory/both/{tag}" in files["README.md"].decode() or tag != "oracle"
    with pytest.raises(
        ZooError, match=r"holds the weights oracle, softmax_oracle: name one, as hf://theory/both/oracle"
    ):
        zoo.load("hf://theory/both")
    with pytest.raises(ZooError, match="the repository has no sgd/config.json"):
        zoo.load("hf://theory/both/sgd")
    sending.publish("theory/both", publication(names[0], names[1], repo="theory/both").files(), "again")
    assert len(hub.repositories["theory/both"].commits) == 2


def test_a_dry_run_sends_nothing_and_shows_what_would_change(
    hub: Hub, published: str, undrawn: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    calls = len(hub.calls)
    out = tmp_path / "out"
    assert main(["publish", ORACLE, "--repo", REPO, "--dry-run", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"model.safetensors +48.6 kB +as it is", said) and re.search(r"claims.json .* changed", said)
    assert set(hub.calls[calls:]) <= {"info", "tree", "refs", "resolve-head", "resolve"}
    assert (out / "config.json").read_bytes() == registry.weight_file(ORACLE).read_bytes()


# What stands on a card.


def test_a_card_says_what_the_record_and_the_verdicts_say_and_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["single_location.manifold"]
    one = publication(*names)
    content = one.files()["README.md"].decode()
    head = yaml.safe_load(content.split("---\n")[1])
    record = zoo.record(names[0])
    assert head["license"] == "apache-2.0" and head["library_name"] == "theorem-zoo"
    (model,) = head["model-index"]
    metrics = [metric for result in model["results"] for metric in result["metrics"]]
    assert [metric["name"].split()[0] for metric in metrics] == [claim["claim"] for claim in record.claims]
    assert all(metric["type"] in CLAIM_KINDS for metric in metrics)
    assert model["results"][0]["dataset"] == {"type": "synthetic", "name": "SingleLocationData"}
    for said in (
        record.command,
        record.sha256,
        f"{record.steps:,} optimiser steps",
        "2410.01537",
        "30 × 400",
        "bibtex",
    ):
        assert said in content
    for claim in record.claims:
        assert f"| {claim['claim']} |" in content
    for section in ("Load", "Tensors", "Claims", "Training", "Limits", "Licence and citation"):
        assert f"\n## {section}\n" in content
    assert yaml.safe_load(re.search(r"```yaml\n(.*?)```", content, re.S)[1]) == record.recipe  # type: ignore[index]
    for code in re.findall(r"```python\n(.*?)```", content, re.S):
        compile(code, "card", "exec")


def test_the_code_of_a_card_runs(hub: Hub, published: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    content = (hub.repositories[REPO].files("main") or {})["README.md"].decode()
    blocks = re.findall(r"```python\n(.*?)```", content, re.S)
    assert len(blocks) == 3
    for code in blocks:
        exec(code, {})


@pytest.mark.parametrize("name", zoo.list_models())
def test_every_system_has_a_card(name: str) -> None:
    system = registry.system(name)
    names = zoo.list_weights(f"{name}.*")[:2]
    one = Publication("theory/all", system, weights_of(*names), statements_of(system), [], False)
    files = one.files()
    content = files["README.md"].decode()
    assert all(f"| {statement.claim.id} |" in content for statement in one.statements), "no claim is dropped"
    assert len(json.loads(files["claims.json"])) == len(one.statements)
    lines = [line for line in content.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("| C")} <= {7}


def test_evaluation_results_name_a_data_set_of_the_hub() -> None:
    name = "scaled_resnet.mnist_smooth"
    files = publication(name).files()
    results = {path: yaml.safe_load(content) for path, content in files.items() if path.startswith(".eval_results/")}
    claims = {entry["claim"]: entry for entry in json.loads(files["claims.json"])}
    assert results
    for path, entries in results.items():
        claim = claims[Path(path).stem]
        assert [entry["value"] for entry in entries] == (
            claim["now"] if isinstance(claim["now"], list) else [claim["now"]]
        )
        parsed = huggingface_hub.parse_eval_result_entries(entries)
        assert {entry.dataset_id for entry in parsed} == {"ylecun/mnist"} and parsed[0].task_id == claim["claim"]
    assert yaml.safe_load(files["README.md"].decode().split("---\n")[1])["datasets"] == ["ylecun/mnist"]
    assert not [path for path in publication(ORACLE).files() if path.startswith(".eval_results/")]


def test_a_verdict_that_differs_from_the_record_is_refused_or_stated(
    hub: Hub, undrawn: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = Cards.find

    def contradicted(self: Cards, claim: Any) -> Any:
        card = find(self, claim)
        return card and card | {"verdict": "differs"}

    monkeypatch.setattr(Cards, "find", contradicted)
    arguments = ["publish", ORACLE, "--repo", REPO]
    assert main(arguments) == 1
    assert "nothing is published: C1, C4 now differ from the record" in capsys.readouterr().out
    assert not hub.repositories
    assert main([*arguments, "--allow-differs"]) == 0
    files = hub.repositories[REPO].files("main") or {}
    assert "C1, C4: the record says differs" in files["README.md"].decode()
    assert [entry["remark"] for entry in json.loads(files["claims.json"])] == ["the record says differs"] * 2


# Refusals before anything is sent.


def test_a_repository_of_something_else_is_left_alone(hub: Hub, published: str) -> None:
    other = publication("single_location.softmax_oracle").files()
    with pytest.raises(ZooError, match="holds single_location.oracle, not single_location.softmax_oracle"):
        sending.publish(REPO, other, "other")
    foreign = Repository(private=False)
    foreign.commit({"config.json": b'{"model_type": "bert"}', "model.safetensors": b"bert"}, "bert")
    hub.repositories["theory/bert"] = foreign
    with pytest.raises(ZooError, match="theory/bert holds another model"):
        sending.publish("theory/bert", other, "other")
    with pytest.raises(ZooError, match="is public; only a new repository can be made private"):
        sending.publish(REPO, publication(ORACLE).files(), "again", private=True)
    assert len(hub.repositories[REPO].commits) == 2 and len(foreign.commits) == 1


def test_files_of_the_owner_stay(hub: Hub, published: str) -> None:
    repository = hub.repositories[REPO]
    files = dict(repository.files("main") or {}) | {"NOTES.md": b"mine", "figures/gone.svg": b"old"}
    repository.commit(files, "by hand")
    commit, changes = sending.publish(REPO, publication(ORACLE).files(), "again")
    assert changes.removed == ["figures/gone.svg"] and not changes.new and not changes.changed
    assert (repository.files(commit) or {})["NOTES.md"] == b"mine"


def test_a_tag_does_not_move(hub: Hub, published: str) -> None:
    files = publication(ORACLE).files()
    repository = hub.repositories[REPO]
    assert sending.publish(REPO, files, "again", tag="v1")[0] == published and repository.tags == {"v1": published}
    assert sending.publish(REPO, files, "again", tag="v1")[0] == published
    with pytest.raises(ZooError, match="has the tag v1 at .*, and tags do not move"):
        sending.publish(REPO, dict(files) | {"figures/new.svg": b"new"}, "changed", tag="v1")
    assert repository.head == published


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([ORACLE, "scaled_resnet.mnist_grid"], "weights of one system, not of single_location and scaled_resnet.mnist"),
        (["single_location.oracel"], "did you mean 'single_location.oracle'?"),
        ([ORACLE, "--repo", "no-slash"], "'hf://no-slash@main' is no address of a weight"),
        ([ORACLE, "--repo", "elsewhere/oracle"], "403 You don't have the rights to create a model"),
    ],
)
def test_a_mistake_gets_one_sentence(
    arguments: list[str], says: str, hub: Hub, undrawn: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["publish", *([] if "--repo" in arguments else ["--repo", REPO]), *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.startswith("zoo: ") and error.count("\n") == 1
    assert not hub.repositories


def test_addresses() -> None:
    assert Address.parse("hf://a/b") == Address("a/b")
    assert Address.parse("hf://a/b/tag@refs/pr/1") == Address("a/b", "tag", "refs/pr/1")
    assert str(Address.parse("hf://a.x/b-y/t_1@v1.0")) == "hf://a.x/b-y/t_1@v1.0"
    for bad in (
        "hf://a",
        "hf://a/b/../c",
        "hf://a/b@../x",
        "hf://a/b/c/d",
        "hf:///b",
        "hf://a/b@",
        "hf://a/b?x",
        "a/b",
    ):
        with pytest.raises(ZooError, match="is no address of a weight"):
            Address.parse(bad)


# The Hub fails.


@pytest.mark.parametrize("call", ["validate-yaml", "preupload", "lfs-batch", "lfs-put", "lfs-verify", "commit"])
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 502}, {"drop": True}], ids=["500", "502", "cut off"])
def test_a_failure_in_the_middle_leaves_the_previous_revision(
    call: str, fault: dict[str, Any], hub: Hub, published: str
) -> None:
    files = dict(publication(ORACLE).files()) | {"figures/new.png": b"new"}
    files["README.md"] += b"new"
    hub.faults = [Fault(call, **fault)]
    with pytest.raises(ZooError, match=rf"{REPO}: the Hub (refused|is not reached)") as caught:
        sending.publish(REPO, files, "second")
    assert "\n" not in str(caught.value)
    assert hub.repositories[REPO].head == published and same(f"hf://{REPO}", ORACLE)
    hub.faults = []
    sending.publish(REPO, files, "second")
    assert len(hub.repositories[REPO].commits) == 3


def test_a_passing_failure_is_tried_again(hub: Hub, published: str) -> None:
    files = dict(publication(ORACLE).files()) | {"figures/new.png": b"new"}
    hub.faults = [Fault("lfs-put", status=503, times=2), Fault("preupload", status=500, times=1)]
    assert sending.publish(REPO, files, "second")[0] != published


def test_a_lost_answer_of_the_commit_is_found_by_the_second_publication(
    hub: Hub, published: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = dict(publication(ORACLE).files()) | {"figures/new.svg": b"new"}
    send = hub_server.Handler.send

    def lost(self: Any, status: int, value: Any, headers: Any = None) -> None:
        if isinstance(value, dict) and "commitOid" in value:
            self.close_connection = True
        else:
            send(self, status, value, headers)

    monkeypatch.setattr(hub_server.Handler, "send", lost)
    with pytest.raises(ZooError, match="the Hub is not reached"):
        sending.publish(REPO, files, "second")
    commit, changes = sending.publish(REPO, files, "second", tag="v2")
    assert not changes and len(hub.repositories[REPO].commits) == 3 and hub.repositories[REPO].tags == {"v2": commit}


def test_a_commit_that_came_in_between_is_not_overwritten(
    hub: Hub, published: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = hub.repositories[REPO]
    compare = sending.compare

    def later(files: Any, remote: Any) -> Any:
        if remote.head == published == repository.head:
            repository.commit(dict(repository.files("main") or {}) | {"NOTES.md": b"a friend"}, "a friend")
        return compare(files, remote)

    monkeypatch.setattr(sending, "compare", later)
    with pytest.raises(ZooError, match="412 A commit has happened since"):
        sending.publish(REPO, dict(publication(ORACLE).files()) | {"figures/new.svg": b"new"}, "second")
    assert repository.messages[-1] == "a friend"


def test_metadata_that_the_hub_refuses_sends_nothing(hub: Hub, published: str) -> None:
    files = dict(publication(ORACLE).files())
    files["README.md"] = files["README.md"].replace(b"license: apache-2.0", b"license: none of these")
    with pytest.raises(ZooError, match="Invalid metadata in README.md"):
        sending.publish(REPO, files, "second")
    assert hub.repositories[REPO].head == published


def test_a_tag_that_fails_is_set_by_the_second_publication(hub: Hub, published: str) -> None:
    files = dict(publication(ORACLE).files()) | {"figures/new.svg": b"new"}
    hub.faults = [Fault("tag", status=500)]
    with pytest.raises(ZooError, match="the Hub refused"):
        sending.publish(REPO, files, "second", tag="v2")
    hub.faults = []
    commit, changes = sending.publish(REPO, files, "second", tag="v2")
    assert not changes and hub.repositories[REPO].tags == {"v2": commit} and len(hub.repositories[REPO].commits) == 3


@pytest.mark.parametrize(("token", "says"), [("wrong", "401 Invalid credentials"), ("", "there is no account here")])
def test_without_an_account_nothing_is_verified_or_sent(
    token: str, says: str, hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(command, "stated", None)
    assert main(["publish", ORACLE, "--repo", REPO]) == 2
    assert says in capsys.readouterr().err and not hub.repositories


def test_loading_tells_what_is_missing(hub: Hub, published: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for address, says in {
        "hf://theory/nothing": "the Hub shows no such repository",
        f"hf://{REPO}@v9": "the repository has no such revision",
        f"hf://{REPO}/tag": "the repository has no tag/config.json",
    }.items():
        with pytest.raises(ZooError, match=says) as caught:
            zoo.load(address)
        assert "\n" not in str(caught.value)
    hub.repositories[REPO].private = True
    assert same(f"hf://{REPO}", ORACLE)
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(ZooError, match="401 Invalid credentials"):
        zoo.load(f"hf://{REPO}@{'0' * 40}")
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(ZooError, match="the Hub shows no such repository"):
        zoo.load(f"hf://{REPO}@{'0' * 40}")


@pytest.mark.parametrize("fault", [{"pause": 1.5}, {"status": 503}, {"drop": True}], ids=["timeout", "503", "cut off"])
def test_a_hub_that_does_not_answer_serves_from_the_cache_or_says_so(
    fault: dict[str, Any], hub: Hub, published: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert same(f"hf://{REPO}", ORACLE)
    cache = constants.HF_HUB_CACHE
    hub.faults = [Fault("resolve-head", **fault)]
    if fault != {"drop": True}:  # the client falls back to its cache on timeouts and on errors of the server
        assert same(f"hf://{REPO}", ORACLE)
    assert same(f"hf://{REPO}@{published}", ORACLE), "a commit in the cache needs no Hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", f"{cache}-empty")
    with pytest.raises(ZooError, match="the Hub (is not reached|refused)") as caught:
        zoo.load(f"hf://{REPO}")
    assert "\n" not in str(caught.value)


def test_an_interrupted_download_goes_on(hub: Hub, published: str) -> None:
    hub.faults = [Fault("lfs-get", drop=True, times=1)]
    assert same(f"hf://{REPO}", ORACLE)


# Repositories that are not what they say.


def tampered(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def test_tampered_bytes_are_refused_from_the_hub_and_from_the_cache(hub: Hub, published: str) -> None:
    hub.faults = [Fault("lfs-get", alter=tampered)]
    with pytest.raises(
        ZooError, match=r"is refused: .* has sha256 .* where its record says .* remove \S*models--theory"
    ):
        zoo.load(f"hf://{REPO}")
    assert hub.calls.count("lfs-get") == 1
    hub.faults = []
    with pytest.raises(ZooError, match="has sha256"):  # what is in the cache is checked again at every load
        zoo.load(f"hf://{REPO}@{published}")


class Bomb:
    """A pickle that would leave a trace if it were read."""

    def __reduce__(self) -> Any:
        return (open, ("exploded", "w"))


def hostile() -> dict[str, tuple[dict[str, Any], bytes | None, str]]:
    """Changes of a record that is sealed again, other bytes of the weight, and what is said."""
    extra = safetensors.torch.save({"k": torch.zeros(5, 400), "v": torch.zeros(5, 400), "evil": torch.zeros(5)})
    few = safetensors.torch.save({"k": torch.zeros(5, 400)})
    half = safetensors.torch.save({"k": torch.zeros(5, 400).half(), "v": torch.zeros(5, 400).half()})
    deep: Any = []
    for _ in range(50):
        deep = [deep]
    return {
        "pickle": ({}, pickle.dumps(Bomb()), "is a pickle, which the zoo never reads"),
        "extra key": ({}, extra, "holds 'evil', which SingleLocation does not have"),
        "missing key": ({}, few, "does not hold 'v'"),
        "another dtype": ({}, half, "as torch.float16 where its record says torch.float32"),
        "garbage": ({}, b"garbage", "is not a safetensors file"),
        "unregistered network": ({"network": "os.system"}, None, "has no network 'os.system'"),
        "unregistered system": ({"system": "../../evil"}, None, "There is no system"),
        "network by path": ({"network": "builtins:eval"}, None, "has no network 'builtins:eval'"),
        "path in the tag": ({"tag": "../../../evil"}, None, "is not a weight's record: it has tag"),
        "unknown argument": ({"arguments": {"d": 400, "__class__": "x"}}, None, "does not fit SingleLocation"),
        "huge network": ({"arguments": {"d": 10**12}}, None, "do not hold a network of size 1000000000000"),
        "network larger than its file": (
            {"arguments": {"d": 999_999, "length": 999_999}, "network": "LinearRegression"},
            None,
            "arguments ask for a network larger than its file",
        ),
        "arguments no object": ({"arguments": [1]}, None, "its arguments is '[1]'"),
        "dtype no dtype": ({"dtype": "load"}, None, "it has tag 'oracle', dtype 'load'"),
        "replicas no number": ({"replicas": "many"}, None, "its replicas is 'many'"),
        "unknown field": ({"auto_map": {"AutoModel": "evil.py"}}, None, "has unknown auto_map"),
        "nested": ({"recipe": {"a": deep}}, None, "more than 20 levels"),
    }


HOSTILE = hostile()


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_repository_is_refused_in_one_sentence(
    case: str, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    changes, content, says = HOSTILE[case]
    shipped = registry.weight_file(ORACLE)
    content = content if content is not None else shipped.with_suffix(".safetensors").read_bytes()
    sealed = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    record = json.loads(shipped.read_text()) | sealed | changes
    evil = Repository(private=False)
    code = b"raise SystemExit('run')"
    files = {
        "config.json": json.dumps(record).encode(),
        "model.safetensors": content,
        "evil.py": code,
        "zoo/__init__.py": code,
    }
    evil.commit(files, "evil")
    hub.repositories["evil/oracle"] = evil
    with pytest.raises(ZooError, match=re.escape(says)) as caught:
        zoo.load("hf://evil/oracle")
    assert "\n" not in str(caught.value) and not (tmp_path / "exploded").exists()
    assert not list(tmp_path.rglob("*.py")), "only the record and the tensors are downloaded"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (b"{" + b" " * 2_000_000 + b"}", "of 2000002 bytes, which is no record: nothing was downloaded"),
        (b"[" * 100_000, "that is no JSON object"),
        (b"\xff\xfe", "that is no JSON object"),
        (b"[]", "it holds no JSON object"),
        (b'{"weights": ["a"]}', "holds the weights a: name one, as hf://evil/oracle/a"),
    ],
)
def test_a_record_that_is_none_is_refused(config: bytes, says: str, hub: Hub) -> None:
    evil = Repository(private=False)
    evil.commit({"config.json": config}, "evil")
    hub.repositories["evil/oracle"] = evil
    with pytest.raises(ZooError, match=re.escape(says)):
        zoo.load("hf://evil/oracle")


def test_a_weight_of_another_size_is_not_downloaded(hub: Hub) -> None:
    shipped = registry.weight_file(ORACLE)
    evil = Repository(private=False)
    evil.commit({"config.json": shipped.read_bytes(), "model.safetensors": b"0" * 1_000_000}, "evil")
    hub.repositories["evil/oracle"] = evil
    with pytest.raises(ZooError, match=r"has 1000000 bytes where its record says 48616: nothing was downloaded"):
        zoo.load("hf://evil/oracle")
    assert "lfs-get" not in hub.calls


def test_a_weight_under_another_name_is_refused(hub: Hub) -> None:
    shipped = registry.weight_file(ORACLE)
    evil = Repository(private=False)
    evil.commit({"manifold/config.json": shipped.read_bytes()}, "evil")
    hub.repositories["evil/both"] = evil
    with pytest.raises(ZooError, match="its record is that of single_location.oracle"):
        zoo.load("hf://evil/both/manifold")
