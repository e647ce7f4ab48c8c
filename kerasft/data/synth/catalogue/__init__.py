"""The built-in domains. All names and values in them are made up."""

from kerasft.data.synth.catalogue import (
    arts,
    companies,
    engineering,
    learning,
    nature,
    pastimes,
    services,
    trade,
)
from kerasft.data.synth.catalogue.spec import Domain, Entity, Field

CATALOGUE: dict[str, Domain] = {
    domain.name: domain
    for group in (trade, companies, learning, services, arts, pastimes, nature, engineering)
    for domain in group.DOMAINS
}

__all__ = ["CATALOGUE", "Domain", "Entity", "Field"]
