"""What every section of the config has in common."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of all sections: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Options added after the first release. At their default they do not enter the identity, so
    # what was stored before they existed stays valid.
    later: ClassVar[frozenset[str]] = frozenset()

    def identity(self) -> dict[str, Any]:
        """Return what decides the numbers, as plain JSON."""
        fields = type(self).model_fields
        same = {name for name in self.later if getattr(self, name) == fields[name].default}
        return self.model_dump(mode="json", exclude=same)
