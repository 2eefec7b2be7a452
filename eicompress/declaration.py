"""The declaration of a setting, and the check of given values against it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from eicompress.errors import SpecError, nearest
from eicompress.parsing import text

Group = TypeVar("Group")


@dataclass(frozen=True)
class Setting:
    """The declaration of a setting, besides its name and its type."""

    help: str
    metavar: str
    """What the help calls its value; empty for a switch, which has none."""
    read: Callable[[object, str], object] = text
    """Takes the given value and the flag, and returns the normal form. Raises `SpecError`."""
    default: str | int | None = None
    """As it is written; None where a setting that is not given is left out."""
    otherwise: str = ""
    """The default as the help describes it, if it is no plain value."""
    repeated: bool = False
    """Whether its flag may be given several times."""
    identifies: bool = True
    """Whether it identifies a study, which keeps it in `study.toml`; otherwise it may change when a study continues."""
    is_path: bool = False
    """Whether it may name files that a worker on another machine must be sent."""

    @property
    def explained(self) -> str:
        """The help, with the default behind it in brackets."""
        default = self.otherwise or ("" if self.default is None else str(self.default))
        return f"{self.help}  [{default}]" if default else self.help


def declared(group: type) -> Mapping[str, Setting]:
    """The settings of a group by their names, in order."""
    return {name: hint.__metadata__[0] for name, hint in group.__annotations__.items()}


def flag(name: str) -> str:
    """The option of the command line for a setting."""
    return f"--{name.rstrip('_').replace('_', '-')}"


def checked(group: type[Group], written: Mapping[str, Any]) -> Group:
    """Settings of a group in their normal form, with the defaults of those that are not given; None is "not given".

    Raises `SpecError`.
    """
    settings, found = declared(group), {}
    for name, value in written.items():
        if value is not None and name not in settings:
            raise SpecError(f"there is no setting `{name}`: {nearest(name, settings)}")
    for name, setting in settings.items():
        value = written.get(name)
        value = setting.default if value is None else value
        if value is not None:
            found[name] = setting.read(value, flag(name))
    return cast(Group, found)
