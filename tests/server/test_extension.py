"""What an app declares, who may claim what, and which apps a server runs."""

import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from litestar import Controller, MediaType, Router, get, post, websocket
from litestar.handlers import HTTPRouteHandler, head
from litestar.params import FromPath
from litestar.static_files import create_static_files_router
from support.site import configured

from tidings.server.app import Server
from tidings.server.cli.run import run_server
from tidings.server.config import ConfigError
from tidings.server.config import Server as ServerSection
from tidings.server.extension import App, BrokenApp, Call, NameConflict, Push, Refusal


class Ask(msgspec.Struct):
    """Any payload."""


class Told(msgspec.Struct):
    """Any answer."""


async def _handler(call: Call[Ask]) -> Told:
    return Told()


def _commands(name: str, *commands: str) -> App:
    app = App(name)
    for command in commands:
        app.command(command, Ask)(_handler)
    return app


# --- declarations ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "1st", "a b", "a,b", "*", "polls\n", "tidings", "x" * 65, "pölls"])
def test_an_app_has_a_name_that_a_list_can_hold(name: str) -> None:
    """The name stands in `server.apps` and in logs; ours is taken."""
    with pytest.raises(ValueError, match="no name for an app"):
        App(name)


def _sync(call: Call[Ask]) -> Told:
    return Told()


@contextlib.asynccontextmanager
async def _lifespan(push: Push) -> AsyncIterator[None]:
    yield


async def _bare(push: Push) -> AsyncIterator[None]:
    yield


class _Odd(msgspec.Struct):
    odd: list[Ask] | list[Told]


@pytest.mark.parametrize(
    ("declare", "error", "says"),
    [
        (lambda app: app.command("a b", Ask), ValueError, "'a b' is no message name"),
        (lambda app: app.command("x" * 65, Ask), ValueError, "no message name"),
        (lambda app: app.event("", Ask), ValueError, "no message name"),
        (lambda app: app.answer("é", Ask), ValueError, "no message name"),
        (lambda app: app.command("ask", dict), TypeError, "expected a msgspec.Struct class"),
        (lambda app: app.answer("told", Told()), TypeError, "expected a msgspec.Struct class"),
        (lambda app: app.event("told", _Odd), TypeError, "list"),
        (lambda app: app.command("ask", Ask)(_sync), TypeError, "'ask' must be an async function"),
        (lambda app: app.task(_sync), TypeError, "must be an async function"),
        (lambda app: app.lifespan(_bare), TypeError, "put @asynccontextmanager between"),
        (lambda app: app.answer("no", Refusal), TypeError, "answered as `error`"),
    ],
)
def test_what_cannot_work_is_told_where_it_is_declared(
    declare: Callable[[App], object], error: type[Exception], says: str
) -> None:
    """A wrong name, payload or function raises in the app's own line, and not when the first client comes."""
    with pytest.raises(error, match=says):
        declare(App("test"))


def test_a_declaration_leaves_the_function_as_it_is() -> None:
    """Every decorator returns what it was given, so that the app's own tests can call it."""
    app = App("test")

    async def task(push: Push) -> None:
        """Do nothing."""

    assert app.command("one", Ask)(app.command("two", Ask)(_handler)) is _handler
    assert app.task(task) is task
    assert app.lifespan(_lifespan) is _lifespan
    assert list(app.commands) == ["two", "one"]


@pytest.mark.parametrize(
    "declare",
    [
        lambda app: app.command("ask", Ask),
        lambda app: app.answer("told", Ask),
        lambda app: app.event("told", Ask),
        lambda app: app.event("seen", Ask),
        lambda app: app.answer("seen", Ask),
        lambda app: app.answer("otherwise", Told),
    ],
)
def test_an_app_says_everything_once(declare: Callable[[App], object]) -> None:
    """A name twice in one app is a mistake, and so is one Struct under two names: its type says the name."""
    app = _commands("test", "ask")
    app.answer("told", Told)
    app.event("seen", Told)
    with pytest.raises(NameConflict, match="'test'"):
        declare(app)


# --- names of messages -------------------------------------------------------------------------------


def _declaring(name: str, what: str, message: str) -> App:
    app = App(name)
    if what == "command":
        app.command(message, Ask)(_handler)
    elif what == "answer":
        app.answer(message, Told)
    else:
        app.event(message, Told)
    return app


@pytest.mark.parametrize(
    ("what", "message", "owner"),
    [
        ("command", "ping", "tidings"),
        ("command", "subscribe", "tidings"),
        ("command", "join_room", "rooms"),
        ("answer", "subscribed", "tidings"),
        ("answer", "notification", "tidings"),
        ("event", "notification", "tidings"),
        ("event", "room_message", "rooms"),
        # What the server says about a connection, or will say one day.
        ("event", "error", "tidings"),
        ("event", "connected", "tidings"),
        ("event", "joined", "tidings"),
        ("answer", "acked", "tidings"),
    ],
)
def test_the_servers_own_names_are_taken(what: str, message: str, owner: str) -> None:
    """An app that claims one keeps the server from starting, which names both."""
    with pytest.raises(NameConflict) as raised:
        Server(configured(), apps=[_declaring("mine", what, message)])
    for name in (message, owner, "mine"):
        assert repr(name) in str(raised.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("command", "command"),
        ("answer", "answer"),
        ("event", "event"),
        ("answer", "event"),
        ("event", "answer"),
    ],
)
def test_two_apps_cannot_share_a_name(one: str, other: str) -> None:
    """Nor can two apps: the conflict names both, so that their owner knows whom to ask."""
    apps = [_declaring("first", one, "shout"), _declaring("second", other, "shout")]
    with pytest.raises(NameConflict, match=r"'shout'.*'first'.*'second'"):
        Server(configured(), apps=apps)


def test_what_comes_in_may_be_called_as_what_goes_out() -> None:
    """A command and an answer, or an event, cannot be confused: one name may stand for both."""
    server = Server(
        configured(), apps=[_declaring("first", "command", "shout"), _declaring("second", "event", "shout")]
    )
    registry = server.context.registry
    assert (registry.commands["shout"].owner, registry.events["shout"].owner) == ("first", "second")


@pytest.mark.parametrize("names", [["rooms"], ["polls", "polls"]])
def test_two_apps_cannot_have_one_name(names: list[str]) -> None:
    """Their names stand in the log and in the configuration: each has one owner, too."""
    with pytest.raises(NameConflict, match=repr(names[-1])):
        Server(configured(), apps=[App(name) for name in names])


# --- routes ------------------------------------------------------------------------------------------


@get("/polls/{poll:str}")
async def _one(poll: FromPath[str]) -> dict[str, str]:
    return {}


@get("/polls/{name:int}")
async def _same(name: FromPath[int]) -> dict[str, str]:
    return {}


@post("/polls/{poll:str}")
async def _another_method(poll: FromPath[str]) -> None:
    return None


class _Polls(Controller):
    path = "/polls"

    @get("/{any_name:str}")
    async def one(self, any_name: FromPath[str]) -> dict[str, str]:
        return {any_name: any_name}


@post("/api/v1/publish")
async def _publish() -> None:
    return None


@get("/readyz", media_type=MediaType.TEXT)
async def _page() -> str:
    return ""


@websocket("/polls/socket")
async def _socket(socket: Any) -> None:
    return None


def _routes(name: str, *handlers: Any) -> App:
    app = App(name)
    app.routes(*handlers)
    return app


@pytest.mark.parametrize("other", [_one, _same, _Polls])
def test_two_apps_cannot_share_a_route(other: HTTPRouteHandler | type[Controller]) -> None:
    """One path and method, however the parameters are called: refused with both owners' names."""
    with pytest.raises(NameConflict, match=r"GET /polls/\{\}.*'first'.*'second'"):
        Server(configured(), apps=[_routes("first", _one), _routes("second", other)])


def test_another_method_is_another_route() -> None:
    """A path may be one app's for GET and another's for POST."""
    Server(configured(), apps=[_routes("first", _one), _routes("second", _another_method)])


@pytest.mark.parametrize(("handler", "path"), [(_publish, "/api/v1/publish"), (_page, "/readyz")])
def test_the_servers_own_routes_are_taken(handler: HTTPRouteHandler, path: str) -> None:
    """Nor can an app take a path that the server itself answers."""
    with pytest.raises(NameConflict, match=rf"{path}.*'tidings'.*'mine'"):
        Server(configured(), apps=[_routes("mine", handler)])


def test_only_http_routes_can_be_added() -> None:
    """A WebSocket route would never be asked: that is said at the start."""
    with pytest.raises(BrokenApp, match=r"'mine'.*/polls/socket.*only HTTP"):
        Server(configured(), apps=[_routes("mine", _socket)])


class _Twice(Controller):
    path = "/polls"

    @get("/x")
    async def one(self) -> None: ...

    @get("/x")
    async def other(self) -> None: ...


@pytest.mark.parametrize(
    ("handlers", "says"),
    [
        ([_publish_polls := post("/polls/{poll:str}")(_another_method.fn), _another_method], "POST /polls"),
        ([_one, _same], r"GET /polls/\{\}"),
        ([_one, _Polls], r"GET /polls/\{\}"),
        ([Router("/", route_handlers=[_another_method, _publish_polls])], "POST /polls"),
        ([Router("/", route_handlers=[Router("/", route_handlers=[_one]), _Polls])], r"GET /polls/\{\}"),
        ([get(["/a", "/b"], operation_id="both")(_page.fn)], "operation id 'both'"),
    ],
)
def test_an_app_claims_a_route_once(handlers: list[Any], says: str) -> None:
    """Of two handlers for one route one would never be asked; two operations of one id cannot be described."""
    with pytest.raises(NameConflict, match=rf"'mine' declares the .*{says}.* twice"):
        Server(configured(), apps=[_routes("mine", *handlers)])


@pytest.mark.parametrize(
    ("apps", "owners"),
    [
        ([("mine", "publish")], "'publish'.*'tidings'.*'mine'"),
        ([("mine", "readyz")], "'readyz'.*'tidings'.*'mine'"),
        ([("first", "vote"), ("second", "vote")], "'vote'.*'first'.*'second'"),
        ([("first", lambda *_: "vote"), ("second", lambda *_: "vote")], "'vote'.*'first'.*'second'"),
    ],
)
def test_an_operation_id_has_one_owner(apps: list[tuple[str, Any]], owners: str) -> None:
    """Generated clients name their methods by it: a conflict stops the start, and names both."""
    routes = [_routes(name, get(f"/{name}", operation_id=chosen)(_page.fn)) for name, chosen in apps]
    with pytest.raises(NameConflict, match=owners):
        Server(configured(), apps=routes)


def test_an_operation_that_is_not_described_has_no_id() -> None:
    """What stands in no document conflicts with nothing in it."""
    hidden = get("/mine", operation_id="publish", include_in_schema=False)(_page.fn)
    Server(configured(), apps=[_routes("mine", hidden)])


@head("/polls")
async def _head() -> None:
    return None


def test_a_handler_of_head_would_never_be_asked() -> None:
    """HEAD is answered wherever GET is: an app that declares it alone is told so at the start."""
    with pytest.raises(BrokenApp, match=r"'mine': HEAD /polls.*answered wherever GET is"):
        Server(configured(), apps=[_routes("mine", _head)])


def test_litestars_static_files_can_be_added(tmp_path: Path) -> None:
    """They bring a handler of HEAD, which has one of GET beside it."""
    Server(configured(), apps=[_routes("mine", create_static_files_router("/files", [tmp_path]))])


async def _unannotated(poll) -> None:  # type: ignore[no-untyped-def]  # that is what is wrong
    return None


async def _nobody_knows(poll: "NoSuchType") -> None:  # type: ignore[name-defined]  # noqa: F821  as above
    return None


async def _no_answer():  # type: ignore[no-untyped-def]  # as above
    return None


REFUSED = [
    ([get("/wrong")(_unannotated)], "app 'mine': /wrong: 'poll' does not have a type annotation"),
    ([get("/wrong")(_nobody_knows)], "app 'mine': /wrong: .*NoSuchType"),
    ([get("/wrong")(_no_answer)], "app 'mine': /wrong: .*should be type annotated"),
    ([_page.fn], "app 'mine': its HTTP routes: .*decorate it first"),
    ([_Twice], "app 'mine': its HTTP routes: .*must be unique in a controller"),
]


@pytest.mark.parametrize(("handlers", "says"), REFUSED)
def test_what_litestar_refuses_is_told_by_its_app(handlers: list[Any], says: str) -> None:
    """Beside an app that is fine: the error names the one that is not, and the route."""
    with pytest.raises(BrokenApp, match=says):
        Server(configured(), apps=[_routes("fine", _one), _routes("mine", *handlers)])


def test_what_does_not_go_together_is_told_by_all() -> None:
    """Each app alone is fine: then all that have routes are named. (Litestar's routers cannot share a path.)"""
    apps = [
        _routes(name, Router("/", route_handlers=[handler]))
        for name, handler in (("first", _one), ("second", _another_method))
    ]
    with pytest.raises(
        BrokenApp, match=r"the HTTP routes of 'first', 'second' do not go together: .*/polls"
    ):
        Server(configured(), apps=[*apps, App("third")])


# --- which apps run ----------------------------------------------------------------------------------


class Installed:
    """Distributions in a folder on the path, as an installer leaves them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, source: str, *, point: str | None = None, distribution: str = "") -> None:
        """A module with this source, and a distribution that offers its `app`."""
        distribution = distribution or f"the-{name}"
        (self._folder / f"tidings_test_{name}.py").write_text(source)
        info = self._folder / f"{distribution.replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(
            f"[tidings.apps]\n{point or name} = tidings_test_{name}:app\n"
        )


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    """A folder of distributions; what was imported from it is forgotten."""
    monkeypatch.syspath_prepend(tmp_path)
    yield Installed(tmp_path)
    for name in [name for name in sys.modules if name.startswith("tidings_test_")]:
        del sys.modules[name]


GOOD = "from tidings.server.extension import App\napp = App('{}')\n"


def _running(*names: str) -> list[str]:
    return [app.name for app in Server(configured(server=ServerSection(apps=names))).apps]


def test_every_installed_app_runs_unless_named(installed: Installed) -> None:
    """`*` is all, ours first and then by name; a list is exactly those; nothing is nothing."""
    for name in ("zebra", "aardvark"):
        installed.add(name, GOOD.format(name))
    assert _running("*") == ["rooms", "aardvark", "zebra"]
    assert _running("zebra", "rooms") == ["rooms", "zebra"]
    assert _running("zebra") == ["zebra"]
    assert _running() == []


def test_apps_that_are_handed_over_run_beside_rooms(installed: Installed) -> None:
    """With `apps` the configuration is not asked: rooms and exactly these run."""
    installed.add("zebra", GOOD.format("zebra"))
    mine = App("mine")
    apps = Server(configured(server=ServerSection(apps=())), apps=[mine]).apps
    assert [apps[0].name, *apps[1:]] == ["rooms", mine]


def test_an_unknown_app_is_told_with_the_nearest(installed: Installed) -> None:
    """A name that nobody offers is a ConfigError, with what was probably meant; beside `*`, too."""
    installed.add("zebra", GOOD.format("zebra"))
    for names in (("zbra",), ("*", "zbra")):
        with pytest.raises(ConfigError, match=r"server\.apps: no app 'zbra'; did you mean 'zebra'\?"):
            _running(*names)
    with pytest.raises(
        ConfigError, match=r"no app '12345'; there are rooms, accounts, notifications, lines, zebra"
    ):
        _running("12345")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import no_such_module_anywhere\n", "cannot be loaded: ModuleNotFoundError"),
        ("1 / 0\n", "cannot be loaded: ZeroDivisionError"),
        ("application = None\n", "cannot be loaded: AttributeError"),
        ("app = object()\n", "expected an App, found object"),
        (GOOD.format("another"), "its App is called 'another'"),
    ],
)
def test_a_broken_app_is_told_by_its_distribution(installed: Installed, source: str, says: str) -> None:
    """The error names app, entry point and distribution; an app that is not chosen is never imported."""
    installed.add("broken", source)
    with pytest.raises(BrokenApp) as raised:
        _running("*")
    for words in ("'broken'", "tidings_test_broken:app", "the-broken 1.5", says):
        assert words in str(raised.value)
    assert _running("rooms") == ["rooms"]


def test_two_distributions_cannot_offer_one_name(installed: Installed) -> None:
    """Neither two strangers, nor a stranger and ours: both are named, whatever the configuration chooses."""
    installed.add("one", GOOD.format("same"), point="same")
    installed.add("two", GOOD.format("same"), point="same")
    with pytest.raises(NameConflict, match=r"'same'.*the-one 1\.5.*the-two 1\.5"):
        _running("*")


def test_nobody_else_can_be_rooms(installed: Installed) -> None:
    """An installed app with the name of one that comes with the server is refused by its distribution."""
    installed.add("one", GOOD.format("rooms"), point="rooms")
    with pytest.raises(NameConflict, match=r"'rooms'.*the-one 1\.5.*comes with the server"):
        _running("*")


# --- what the owner reads -----------------------------------------------------------------------------

ROUTES = """
from litestar import get, websocket
from litestar.handlers import head
from tidings.server.extension import App

app = App("mine")

@get("/twice")
async def once() -> None: ...

@get("/twice", operation_id="publish")
async def twice() -> None: ...

@websocket("/socket")
async def socket(socket) -> None: ...

@get("/wrong")
async def wrong(what) -> None: ...

@head("/head")
async def head_only() -> None: ...

app.routes({})
"""


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ("once, twice", "app 'mine' declares the route GET /twice twice"),
        ("twice", "the operation id 'publish' is claimed by 'tidings' and by 'mine'"),
        ("socket", "app 'mine': /socket: only HTTP routes"),
        ("wrong", "app 'mine': /wrong: 'what' does not have a type annotation"),
        ("head_only", "app 'mine': HEAD /head would never be asked"),
    ],
)
def test_a_wrong_route_is_a_line_at_the_start(
    installed: Installed,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    declared: str,
    says: str,
) -> None:
    """`tidings serve` ends with 1 and one line that names the app: its owner has no use for our traceback."""
    # A server that starts after all would run for ever.
    monkeypatch.setattr(trio, "run", lambda *_: pytest.fail("it started"))
    installed.add("mine", ROUTES.format(declared))
    with pytest.raises(SystemExit) as ended:
        run_server(configured(server=ServerSection(apps=("mine",))), demo=False)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
