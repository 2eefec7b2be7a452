"""Names on the hub, where it cannot be reached."""

import socket
from typing import Any

import pytest

from eicompress.data.corpus import UnlabelledText
from eicompress.data.datasets import read_tables
from eicompress.errors import DataError


@pytest.mark.parametrize("read", [read_tables, lambda name: list(UnlabelledText((name,)))])
def test_a_hub_that_is_out_of_reach_is_asked_once(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def unknown(host: str, *others: Any, **more: Any) -> Any:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DataError, match=r"there is no `nobody/nothing` here and the hub .* it cannot be reached"):
        read("nobody/nothing")
    assert len(asked) <= 1, "none where the environment says that there is no network"
