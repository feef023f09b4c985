"""The command serve: the HTTP service in the foreground."""

from typing import TYPE_CHECKING, Annotated

import typer

from penchant.cli.session import Folder, Session, session

if TYPE_CHECKING:
    from penchant.workspace.service import Workspace


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    context: typer.Context,
    host: Annotated[
        str | None, typer.Option(help="The address to listen on.", show_default="[server] in penchant.toml")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="The port to listen on.", show_default="[server] in penchant.toml")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="How many processes answer.", show_default="[server] in penchant.toml")
    ] = None,
    folder: Folder = None,
) -> None:
    """Answer over HTTP until interrupted.

    The API describes itself at /openapi.json.
    """
    here = session(context, folder)
    with here.workspace() as workspace:
        listen(here, workspace, host=host, port=port, workers=workers)


def listen(
    here: Session,
    workspace: "Workspace",
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
) -> None:
    """Serve until interrupted; what is None comes from the settings."""
    from penchant.http.run import serve as serve_http

    chosen = workspace.settings.server
    serve_http(
        workspace,
        host=chosen.host if host is None else host,
        port=chosen.port if port is None else port,
        workers=chosen.workers if workers is None else workers,
        on_listen=lambda url: _greet(here, workspace, url),
    )


def _greet(here: Session, workspace: "Workspace", url: str) -> None:
    here.note(f"Serving {here.folder} at {url} (Ctrl-C stops)")
    if not workspace.registry.pointer_file.exists():
        here.note("Nothing is trained yet: events are taken, and feeds come after `penchant train`.")


def reserve(workspace: "Workspace", *, port: int | None) -> str:
    """Return the URL that `listen` will serve at, having tried that the port is free.

    Raises:
        Conflict: the port is taken.
    """
    from penchant.http.run import listen as open_socket
    from penchant.http.run import url_of

    chosen = workspace.settings.server
    with open_socket(chosen.host, chosen.port if port is None else port, with_key=True) as tried:
        return url_of(tried)
