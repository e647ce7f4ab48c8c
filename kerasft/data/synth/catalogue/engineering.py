"""Domains of laboratories, energy and building."""

from kerasft.data.synth.catalogue.spec import (
    CITIES,
    COUNTRIES,
    PEOPLE,
    Domain,
    category,
    count,
    day,
    entity,
    label,
    number,
    pairs,
    pool,
    year,
)

DOMAINS = (
    Domain(
        "astronomy",
        "Observatories, their telescopes and the observations made.",
        (
            entity(
                "observatory|observation site",
                label(
                    "name|observatory name",
                    pairs("Cerro,Mauna,Polar,Desert,High", "Alto,Ridge,Peak,Sky"),
                ),
                category("country|host country", COUNTRIES, "* in {}"),
                number(
                    "altitude|elevation", 200, 5200, 20, "meters", most="highest", least="lowest"
                ),
            ),
            entity(
                "telescope|instrument",
                label(
                    "name|telescope name",
                    pool(
                        "Argus, Lynx, Cygnus, Meridian, Halo, Zenith, Corona, Aquila, Vela, Draco"
                    ),
                ),
                category("telescope type|kind", "optical, radio, infrared", "{} *"),
                number(
                    "aperture|mirror diameter",
                    0.4,
                    12,
                    0.2,
                    "meters",
                    most="largest",
                    least="smallest",
                ),
                year("first light year|commissioning year", 1960, 2022, "newest", "oldest"),
                of="at observatory",
            ),
            entity(
                "observation|exposure",
                category("target|object", "Mars, Vega, Orion Nebula, Comet T7", "* of {}"),
                number(
                    "exposure time|duration",
                    5,
                    900,
                    5,
                    "seconds",
                    adds_up=True,
                    most="longest",
                    least="shortest",
                ),
                day(
                    "observation date|night",
                    "2020-01-01",
                    "2024-06-30",
                    most="most recent",
                    least="oldest",
                ),
                number("quality|quality score", 1, 100, optional=True),
                of="with telescope",
            ),
        ),
    ),
    Domain(
        "space missions",
        "Space agencies and their missions.",
        (
            entity(
                "agency|space agency",
                label(
                    "name|agency name",
                    pool(
                        "Orbita, Stellar Bureau, Nova Office, "
                        "Cosmo Institute, Skyward, Lunar Council, Apex Agency"
                    ),
                ),
                category("country|home country", COUNTRIES, "* from {}"),
                number("budget|yearly budget", 20, 9000, 10, "million dollars", adds_up=True),
            ),
            entity(
                "mission|space mission",
                label(
                    "name|mission name",
                    pairs("Pathfinder,Beacon,Explorer,Horizon", "I,II,III,IV,V"),
                ),
                category("destination|target", "Moon, Mars, Venus, Orbit", "* to {}"),
                day(
                    "launch date|start date",
                    "1995-01-01",
                    "2024-06-30",
                    "launched",
                    most="newest",
                    least="oldest",
                ),
                number(
                    "cost|mission cost",
                    10,
                    3000,
                    5,
                    "million dollars",
                    adds_up=True,
                    most="most expensive",
                    least="cheapest",
                ),
                count("crew members", "crew|crew size", 0, 9, optional=True),
                of="of agency",
            ),
        ),
    ),
    Domain(
        "energy",
        "Power plants, their operators and the monthly output.",
        (
            entity(
                "operator|utility",
                label(
                    "name|company name",
                    pairs("Volt,Grid,Lumen,Arc,Bright", "Energy,Power,Utilities"),
                ),
                category("country|home country", COUNTRIES, "* from {}"),
                count(
                    "customers",
                    "customers|customer count",
                    5000,
                    900000,
                    1000,
                    most="largest",
                    least="smallest",
                ),
            ),
            entity(
                "plant|power plant|power station",
                label(
                    "name|plant name",
                    pairs("Cliff,Delta,Canyon,Moor,Lagoon", "One,Two,Park,Station"),
                ),
                category("source|energy source", "wind, solar, hydro, gas, biomass", "{} *"),
                number(
                    "capacity|installed capacity",
                    2,
                    1200,
                    2,
                    "megawatts",
                    adds_up=True,
                    most="largest",
                    least="smallest",
                ),
                day(
                    "opening date|commissioned on",
                    "1985-01-01",
                    "2023-12-31",
                    "opened",
                    most="newest",
                    least="oldest",
                ),
                of="of operator",
            ),
            entity(
                "report|output report",
                day(
                    "report date|reported on",
                    "2021-01-01",
                    "2024-06-30",
                    most="most recent",
                    least="oldest",
                ),
                number("output|energy output", 1, 900, 1, "gigawatt hours", adds_up=True),
                number("downtime|outage time", 0, 200, 1, "hours", adds_up=True, optional=True),
                category("season|quarter", "spring, summer, autumn, winter"),
                of="of plant",
            ),
        ),
    ),
    Domain(
        "telecommunications",
        "Subscribers of a mobile network, their plans and the monthly bills.",
        (
            entity(
                "plan|tariff",
                label("name|plan name", pairs("Smart,Mega,Basic,Flex,Family", "Start,Plus,Max")),
                number(
                    "monthly price|price",
                    5,
                    90,
                    1,
                    "dollars",
                    most="most expensive",
                    least="cheapest",
                ),
                number("data volume|data limit", 1, 120, 1, "gigabytes", adds_up=True),
                category("contract term|term", "monthly, yearly, prepaid", "{} *"),
            ),
            entity(
                "subscriber|customer",
                label("name|subscriber name", PEOPLE),
                category("city|home city", CITIES, "* from {}"),
                day(
                    "activation date|active since",
                    "2017-01-01",
                    "2024-03-31",
                    "activated",
                    most="newest",
                    least="oldest",
                ),
                number(
                    "data usage|data used", 0.5, 140, 0.5, "gigabytes", adds_up=True, optional=True
                ),
                of="on plan",
                person=True,
            ),
            entity(
                "bill|invoice",
                number(
                    "amount|amount due",
                    5,
                    260,
                    0.5,
                    "dollars",
                    adds_up=True,
                    most="largest",
                    least="smallest",
                ),
                day(
                    "billing date|issued on",
                    "2022-01-01",
                    "2024-06-30",
                    "issued",
                    most="most recent",
                    least="oldest",
                ),
                category("status|payment status", "paid, overdue, disputed", "{} *"),
                of="of subscriber",
            ),
        ),
    ),
    Domain(
        "chemistry lab",
        "Chemists of a laboratory, the substances they use and experiments.",
        (
            entity(
                "chemist|researcher|scientist",
                label("name|chemist name", PEOPLE),
                category("lab|laboratory", "Polymer, Organic, Analytical, Nano", "* in the {} lab"),
                count("publications", "publications|papers", 1, 120),
                person=True,
            ),
            entity(
                "substance|compound",
                label(
                    "name|substance name",
                    pool(
                        "Ferrol, Nitraxine, Calcium Blue, Ethyvane, "
                        "Sodalite, Borane X, Titrol, Zincate, Aluvex, Sulfine"
                    ),
                ),
                category("hazard class|hazard", "harmless, toxic, flammable, corrosive"),
                number(
                    "molar mass|molecular weight",
                    12,
                    480,
                    0.5,
                    "grams per mole",
                    most="heaviest",
                    least="lightest",
                ),
                number("boiling point|boiling temperature", 20, 900, 5, "degrees", optional=True),
            ),
            entity(
                "experiment|trial",
                day(
                    "experiment date|run on",
                    "2020-01-01",
                    "2024-06-30",
                    "run",
                    most="most recent",
                    least="oldest",
                ),
                number(
                    "duration|length",
                    5,
                    600,
                    5,
                    "minutes",
                    adds_up=True,
                    most="longest",
                    least="shortest",
                ),
                number(
                    "cost|material cost",
                    10,
                    4000,
                    10,
                    "dollars",
                    adds_up=True,
                    most="most expensive",
                    least="cheapest",
                ),
                category("outcome|result", "success, failure, repeat"),
                of="of chemist, with substance",
            ),
        ),
    ),
    Domain(
        "construction",
        "Building firms, their sites and the deliveries of material.",
        (
            entity(
                "company|contractor",
                label(
                    "name|company name",
                    pairs("Stone,Beam,Arch,Crane,Keystone", "Builders,Works,Brothers"),
                ),
                category("city|head office", CITIES, "* from {}"),
                number("revenue|yearly revenue", 0.5, 90, 0.5, "million dollars", adds_up=True),
            ),
            entity(
                "site|building site",
                label(
                    "name|site name",
                    pairs("Tower,Quay,School,Clinic,Bridge", "North,South,East,West"),
                ),
                category("phase|building phase", "planning, foundation, structure, finishing"),
                count("workers", "workers|worker count", 4, 160, most="largest", least="smallest"),
                day(
                    "start date|started on",
                    "2019-01-01",
                    "2024-03-31",
                    "started",
                    most="newest",
                    least="oldest",
                ),
                number(
                    "budget|site budget",
                    0.2,
                    60,
                    0.2,
                    "million dollars",
                    adds_up=True,
                    optional=True,
                ),
                of="of company",
            ),
            entity(
                "delivery|material delivery",
                category("material|goods", "cement, steel, timber, glass", "{} *"),
                number(
                    "weight|load weight",
                    0.5,
                    40,
                    0.5,
                    "tons",
                    adds_up=True,
                    most="heaviest",
                    least="lightest",
                ),
                number(
                    "cost|delivery cost",
                    80,
                    9000,
                    10,
                    "dollars",
                    adds_up=True,
                    most="most expensive",
                    least="cheapest",
                ),
                day(
                    "delivery date|delivered on",
                    "2021-01-01",
                    "2024-06-30",
                    most="most recent",
                    least="oldest",
                ),
                of="to site",
            ),
        ),
    ),
)
