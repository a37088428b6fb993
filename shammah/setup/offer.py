"""What a person may choose from: every size of the family on this machine, and the one that is taken by default."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from shammah.models import catalog
from shammah.models.catalog import Model, size_text
from shammah.models.choose import Cause, Fit, choose, fit
from shammah.models.machine import Machine

_AGAINST: dict[Cause, str] = {
    "memory": "lacks memory",
    "speed": "too slow here",
    "disk": "lacks disk",
    "unknown": "not seen yet",
}

Row = tuple[str, str, str, str, str, str]


@dataclass(frozen=True)
class Offer:
    """One model as it would run here; `here` where it is on this disk already."""

    found: Fit
    here: bool

    @property
    def model(self) -> Model:
        """Which one."""
        return self.found.model

    @property
    def verdict(self) -> str:
        """Whether it fits, in a few words: the first obstacle, and a licence that is not free."""
        against = [_AGAINST[one.cause] for one in self.found.obstacles if one.cause in _AGAINST]
        licence = ["research only"] if self.model.research_only else []
        return ", ".join([*(against[:1] or ["fits"]), *licence])

    @property
    def row(self) -> Row:
        """Size, download, memory, tokens per second, seconds to the first word, verdict: see `HEAD`."""
        return (
            self.model.size,
            "is here" if self.here else self.model.download_text.replace("about ", "~"),
            size_text(self.found.peak_bytes),
            _speed(self.found.tokens_per_s),
            f"{self.found.first_token_s:.1f} s",
            self.verdict,
        )


def _speed(tokens_per_s: float) -> str:
    return f"{tokens_per_s:.0f}" if tokens_per_s >= 10 else f"{tokens_per_s:.1f}"


HEAD: Row = ("size", "to fetch", "memory", "tokens/s", "starts in", "")


@dataclass(frozen=True)
class Offers:
    """All models; `automatic` is the size that `auto` takes now of each variant, "starter" where none fits."""

    machine: Machine
    offers: tuple[Offer, ...]
    automatic: Mapping[str, str]

    def of_variant(self, variant: str) -> list[Offer]:
        """Those of a variant, the smallest first."""
        return [offer for offer in self.offers if offer.model.variant == variant]

    def find(self, size: str, variant: str) -> Offer | None:
        """The one of this size, where "auto" is what it takes now; None for the starter."""
        wanted = self.automatic[variant] if size == "auto" else size
        return next((offer for offer in self.of_variant(variant) if offer.model.size == wanted), None)


def offers(machine: Machine, context: int, reserve_gb: float, here: Collection[str] = ()) -> Offers:
    """What this machine is offered; arguments as for `models.choose.fit`, `here` the repositories on this disk."""
    found = [Offer(fit(model, machine, context, reserve_gb, here), model.repo in here) for model in catalog.FAMILY]
    taken = {variant: choose(machine, context, reserve_gb, variant, here).model for variant in catalog.VARIANTS}
    return Offers(machine, tuple(found), {name: model.size if model else "starter" for name, model in taken.items()})
