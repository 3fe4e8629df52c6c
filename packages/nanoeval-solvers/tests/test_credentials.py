"""Keys: never shown, fetched anew when they expire, and never those of another endpoint."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import chz
import openai
import pytest
from nanoeval_core.asyncio_utils import gather_results
from nanoeval_core.errors import ConfigError, RolloutSystemError
from nanoeval_core.recorder import dummy_recorder
from nanoeval_solvers.api_model import APIModel
from nanoeval_solvers.mcq_api import OpenAIAPIMCQSolver
from nanoeval_solvers.reply import Reply
from nanoeval_solvers.testing import ModelServer, Scripted

from tests.support.solver_attempts import Attempt

KEY = "sk-secret-0123456789abcdef"
OTHER_KEY = "tok-9876543210fedcba"
CHAT = [{"role": "user", "content": "Hello?"}]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@chz.chz
class Tokens(APIModel):
    """A model whose tokens a provider gives, as Azure's are given."""

    tokens: Any = chz.field(default=None, doc="Gives the current token.")

    def make_client(self, **options: Any) -> openai.AsyncOpenAI:
        async def current() -> str:
            await asyncio.sleep(0)
            return str(self.tokens())

        return openai.AsyncOpenAI(**{**options, "api_key": current})


@chz.chz
class Rotated(APIModel):
    """A model whose key is looked up somewhere else than in the environment."""

    keys: Any = chz.field(default=None, doc="Gives the current key.")

    def api_key(self) -> str:
        return str(self.keys())


@chz.chz
class Deployment(APIModel):
    """A model whose address is the client's business."""

    address: str = chz.field(default="", doc="The endpoint.")

    def make_client(self, **options: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(**{**options, "base_url": self.address})


class Vault:
    """Holds the current key and counts how often it is asked for."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        return self.key


def _model(kind: str, server: ModelServer, vault: Vault) -> APIModel:
    fields: dict[str, Any] = {"model": "m", "base_url": server.url}
    return Tokens(**fields, tokens=vault) if kind == "tokens" else Rotated(**fields, keys=vault)


@pytest.mark.parametrize("kind", ["tokens", "rotated"])
def test_a_key_that_expired_is_fetched_again_once_for_all(
    model_server: ModelServer, kind: str
) -> None:
    vault = Vault(KEY)
    model_server.api_key = KEY
    model = _model(kind, model_server, vault)

    async def work() -> list[Reply]:
        async with model:
            await model.ask(CHAT, sample="first")
            model_server.api_key = vault.key = OTHER_KEY
            asked = vault.asked
            calls = [model.ask(CHAT, sample=f"{i}") for i in range(20)]
            replies = await gather_results(*calls)
            assert vault.asked <= asked + 2
            return replies

    attempt = Attempt(work())
    assert [reply.text for reply in attempt.result] == ["Answer: A"] * 20
    assert {extra["status"] for extra in attempt.recorder.extras} == {401}
    assert KEY not in str(attempt.recorder.extras)
    assert attempt.usage.retries == len(attempt.recorder.extras) <= 20


@pytest.mark.parametrize("kind", ["tokens", "rotated"])
def test_a_key_that_is_wrong_again_is_given_up(model_server: ModelServer, kind: str) -> None:
    vault = Vault(KEY)
    model_server.api_key = KEY
    model = _model(kind, model_server, vault)

    async def work() -> None:
        async with model:
            await model.ask(CHAT, sample="first")
            vault.key, model_server.api_key = OTHER_KEY, "neither"
            await model.ask(CHAT, sample="second")

    with pytest.raises(ConfigError, match="HTTP status 401") as caught:
        Attempt(work())
    assert len(model_server.requests) == 3
    assert OTHER_KEY not in str(caught.value)
    assert OTHER_KEY not in repr(caught.value.__cause__)


def test_a_key_that_is_revoked_stops_the_calls_that_wait(model_server: ModelServer) -> None:
    model_server.api_key = KEY
    model = APIModel(model="m", base_url=model_server.url, max_concurrency=8)

    async def work() -> None:
        async with model:
            await model.ask(CHAT, sample="first")
            model_server.api_key = "another"
            calls = [model.ask(CHAT, sample=f"{i}") for i in range(200)]
            await gather_results(*calls)

    with pytest.raises(ConfigError, match="HTTP status 401"):
        Attempt(work())
    assert len(model_server.requests) <= 1 + 2 * 8


def test_models_that_make_their_own_clients_do_not_share_one() -> None:
    with ModelServer(reply="of one") as one, ModelServer(reply="of two") as two:

        async def ask(url: str) -> str:
            return (await Deployment(model="m", address=url).ask(CHAT, sample="s")).text

        async def work() -> list[str]:
            async with Deployment(model="m", address=one.url):
                return [await ask(one.url), await ask(two.url), await ask(one.url)]

        assert Attempt(work()).result == ["of one", "of two", "of one"]


def test_the_cache_tells_apart_where_replies_came_from(tmp_path: Any) -> None:
    with ModelServer(reply="of one") as one, ModelServer(reply="of two") as two:

        async def ask(url: str) -> str:
            model = Deployment(model="m", address=url, cache=str(tmp_path))
            return (await model.ask(CHAT, sample="s")).text

        texts = [Attempt(ask(url)).result for url in (one.url, two.url, one.url)]
        assert texts == ["of one", "of two", "of one"]
        assert len(one.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Scripted(text=f"you sent {KEY}"),
        Scripted(status=400, code="content_filter", text=f"refused, {KEY}"),
        Scripted(status=400, code="context_length_exceeded", text=f"too long, {KEY}"),
    ],
)
def test_an_echoed_key_reaches_no_reply_and_no_cache(
    model_server: ModelServer, tmp_path: Any, reply: Scripted
) -> None:
    model_server.reply = reply
    model = APIModel(model="m", base_url=model_server.url, cache=str(tmp_path))
    found = Attempt(model.ask(CHAT, sample="s")).result
    assert "[key]" in found.text
    assert KEY not in repr(found)
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert KEY.encode() not in stored


def test_a_key_at_the_place_where_words_are_cut_does_not_show(model_server: ModelServer) -> None:
    model_server.reply = Scripted(status=500, text="x" * 1990 + KEY)
    model = APIModel(model="m", base_url=model_server.url, max_retries=0)
    with pytest.raises(RolloutSystemError) as caught:
        Attempt(model.ask(CHAT, sample="s"))
    assert KEY[:6] not in str(caught.value)


def test_a_key_that_only_the_client_knows_does_not_show(model_server: ModelServer) -> None:
    model_server.api_key = "neither"
    model = Tokens(model="m", base_url=model_server.url, tokens=Vault(OTHER_KEY))
    with pytest.raises(ConfigError) as caught:
        Attempt(model.ask(CHAT, sample="s"))
    assert "Incorrect API key provided: [key]" in str(caught.value)
    assert OTHER_KEY.encode() not in pickle.dumps(caught.value)


def test_a_short_key_that_is_a_word_stays_a_word(
    model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
    model_server.reply = "the list is EMPTY"
    model = APIModel(model="m", base_url=model_server.url)
    assert Attempt(model.ask(CHAT, sample="s")).result.text == "the list is EMPTY"


def test_a_url_that_may_hold_a_key_is_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="base_url holds a query") as caught:
        OpenAIAPIMCQSolver(model="m", base_url="http://example.com/v1?key=hunter2")
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:hunter2@127.0.0.1:1/v1")
    with pytest.raises(ConfigError, match="OPENAI_BASE_URL holds a user") as caught:
        Attempt(APIModel(model="m").ask(CHAT, sample="s"))
    assert "hunter2" not in str(caught.value)


def test_a_model_can_be_pickled_with_its_client_told_apart() -> None:
    async def work() -> tuple[Any, Any]:
        with dummy_recorder():
            model = Deployment(model="m", address="http://127.0.0.1:1/v1")
            return model.client_id, pickle.loads(pickle.dumps(model)).client_id

    before, after = asyncio.run(work())
    assert before == after != ()
