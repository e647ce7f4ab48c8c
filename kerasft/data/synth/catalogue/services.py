"""Domains of transport and public life."""

from kerasft.data.synth.catalogue.spec import (
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
    year,
)

DOMAINS = (
    Domain(
        "airline",
        "Airports, the flights that leave them and the aircraft flown.",
        (
            entity(
                "airport|airfield",
                label(
                    "name|airport name",
                    pairs(
                        "Kestrel,Baywater,Mount Alder,Sandholm,Redcliff", "Airport,International"
                    ),
                ),
                category("country|nation", COUNTRIES, "* in {}"),
                number(
                    "elevation|height above sea level",
                    2,
                    2400,
                    2,
                    "meters",
                    most="highest",
                    least="lowest",
                ),
                count("runways", "runways|runway count", 1, 8),
            ),
            entity(
                "plane|airplane",
                label("tail number|registration", pairs("KX,RW,TN,VB", "204,318,447,592,671,780")),
                category("model|type", "Swift 200, Heron 7, Albatross 9"),
                count("seats", "seats|seat count", 19, 380, most="largest", least="smallest"),
                year("build year|year built", 1990, 2022, "newest", "oldest"),
            ),
            entity(
                "flight|departure",
                label("flight number|code", pairs("AQ,LM,ZR", "101,245,370,418,566,733,902")),
                number(
                    "distance|flight distance",
                    150,
                    9000,
                    50,
                    "kilometers",
                    adds_up=True,
                    most="longest",
                    least="shortest",
                ),
                day(
                    "departure date|flight date",
                    "2022-01-01",
                    "2024-06-30",
                    most="most recent",
                    least="oldest",
                ),
                number("delay|departure delay", 0, 180, 1, "minutes", adds_up=True, optional=True),
                category("status|flight status", "on time, delayed, cancelled"),
                of="from airport, with plane",
            ),
        ),
    ),
    Domain(
        "railway",
        "Railway lines, their stations and the tickets sold.",
        (
            entity(
                "line|railway line",
                label(
                    "name|line name",
                    pairs("Coastal,Mountain,Valley,Northern,Express", "Line,Link,Route"),
                ),
                number(
                    "length|route length",
                    12,
                    900,
                    1,
                    "kilometers",
                    adds_up=True,
                    most="longest",
                    least="shortest",
                ),
                category("operator|company", "RailCo, TransNorth, BlueTrack"),
                year("opening year|year opened", 1860, 2020, "newest", "oldest"),
            ),
            entity(
                "station|stop",
                label(
                    "name|station name",
                    pairs("Upper,Lower,East,West,New", "Ashby,Millbrook,Harrow,Selby,Thornton"),
                ),
                count(
                    "platforms", "platforms|platform count", 1, 24, most="largest", least="smallest"
                ),
                count(
                    "daily passengers",
                    "daily passengers|passengers per day",
                    100,
                    90000,
                    100,
                    most="busiest",
                    least="quietest",
                ),
                category("zone|fare zone", "A, B, C, D"),
                of="on line",
            ),
            entity(
                "ticket|sale",
                number(
                    "price|fare",
                    2,
                    140,
                    0.5,
                    "dollars",
                    adds_up=True,
                    most="most expensive",
                    least="cheapest",
                ),
                day(
                    "travel date|date of travel",
                    "2022-01-01",
                    "2024-06-30",
                    most="most recent",
                    least="oldest",
                ),
                category("fare class|class", "first, second, senior, child", "{} class *"),
                of="from station",
            ),
        ),
    ),
    Domain(
        "city buses",
        "Bus routes of a city, the buses on them and their repairs.",
        (
            entity(
                "route|bus route",
                label(
                    "name|route name",
                    pairs("Ring,Harbor,Campus,Night,Market", "Route,Shuttle,Circle"),
                ),
                number(
                    "length|route length",
                    3,
                    60,
                    0.5,
                    "kilometers",
                    adds_up=True,
                    most="longest",
                    least="shortest",
                ),
                count("stops", "stops|stop count", 5, 60),
                category("zone|city zone", "inner, outer, suburban", "{} *"),
            ),
            entity(
                "bus|vehicle",
                label("plate|license plate", pairs("CTB,MVR,LKN", "104,233,356,489,512,678")),
                category("fuel|fuel type", "diesel, electric, hybrid, gas", "{} *"),
                count("seats", "seats|seat count", 18, 70, 2, most="largest", least="smallest"),
                year("build year|model year", 2002, 2023, "newest", "oldest"),
                number(
                    "mileage|distance driven",
                    5000,
                    400000,
                    1000,
                    "kilometers",
                    adds_up=True,
                    optional=True,
                ),
                of="on route",
            ),
            entity(
                "repair|service job",
                number(
                    "cost|repair cost",
                    40,
                    6000,
                    10,
                    "dollars",
                    adds_up=True,
                    most="most expensive",
                    least="cheapest",
                ),
                day(
                    "repair date|date of repair",
                    "2021-01-01",
                    "2024-06-30",
                    "carried out",
                    most="most recent",
                    least="oldest",
                ),
                category("part|repaired part", "brakes, engine, doors, battery"),
                of="of bus",
            ),
        ),
    ),
    Domain(
        "elections",
        "Political parties, their candidates and the votes in districts.",
        (
            entity(
                "party|political party",
                label(
                    "name|party name",
                    pairs("Green,Civic,Liberty,Rural,Progress", "Alliance,Union,Movement"),
                ),
                count(
                    "members",
                    "members|member count",
                    500,
                    90000,
                    100,
                    most="largest",
                    least="smallest",
                ),
                year("founding year|year founded", 1880, 2018, "youngest", "oldest"),
            ),
            entity(
                "candidate|nominee",
                label("name|candidate name", PEOPLE),
                category("occupation|profession", "lawyer, farmer, teacher, doctor, engineer"),
                number("age|age in years", 22, 78, most="oldest", least="youngest"),
                number(
                    "campaign spending|campaign budget", 1000, 90000, 500, "dollars", adds_up=True
                ),
                of="of party",
                person=True,
            ),
            entity(
                "result|vote result",
                category(
                    "district|constituency", "Northgate, Seaview, Oakfield, Midtown", "* in {}"
                ),
                count("votes", "votes|vote count", 100, 9000, 10),
                number("turnout|voter turnout", 30, 92, 0.5, "percent"),
                day("election date|polling day", "2012-01-01", "2024-06-30"),
                of="of candidate",
            ),
        ),
    ),
    Domain(
        "city services",
        "Neighborhoods of a city and the service requests of residents.",
        (
            entity(
                "neighborhood|quarter",
                label(
                    "name|neighborhood name",
                    pairs("Old,Garden,Mill,River,Station", "Quarter,Heights,Park,End"),
                ),
                number(
                    "population|residents",
                    900,
                    60000,
                    100,
                    adds_up=True,
                    most="most populous",
                    least="least populous",
                ),
                category("side|part of town", "north, south, east, west"),
                number(
                    "area|land area",
                    0.5,
                    18,
                    0.5,
                    "square kilometers",
                    adds_up=True,
                    most="largest",
                    least="smallest",
                ),
            ),
            entity(
                "request|service request",
                category(
                    "topic|request type", "pothole, noise, lighting, litter, graffiti", "{} *"
                ),
                day(
                    "report date|reported on",
                    "2021-01-01",
                    "2024-06-30",
                    "reported",
                    most="most recent",
                    least="oldest",
                ),
                number(
                    "response time|time to close", 1, 240, 1, "hours", adds_up=True, optional=True
                ),
                category("status|request status", "open, closed, assigned"),
                of="in neighborhood",
            ),
        ),
    ),
    Domain(
        "fire department",
        "Fire stations, their engines and the incidents answered.",
        (
            entity(
                "station|fire station",
                label(
                    "name|station name",
                    pairs("Hill,Dockside,Central,Airfield,Forest", "Station,Firehouse"),
                ),
                category(
                    "district|city district", "North, Center, Harbor, Hills", "* in the {} district"
                ),
                count(
                    "firefighters",
                    "firefighters|crew size",
                    8,
                    90,
                    most="largest",
                    least="smallest",
                ),
                year("construction year|year built", 1930, 2020, "newest", "oldest"),
            ),
            entity(
                "incident|emergency",
                category("incident type|type", "fire, rescue, flood, false alarm"),
                day(
                    "incident date|date of alarm",
                    "2021-01-01",
                    "2024-06-30",
                    most="most recent",
                    least="oldest",
                ),
                number(
                    "response time|arrival time",
                    2,
                    40,
                    0.5,
                    "minutes",
                    most="slowest",
                    least="fastest",
                ),
                number(
                    "damage|estimated damage",
                    0,
                    200000,
                    500,
                    "dollars",
                    adds_up=True,
                    optional=True,
                ),
                of="of station",
            ),
        ),
    ),
    Domain(
        "courts",
        "Judges of a court and the cases heard.",
        (
            entity(
                "judge|magistrate",
                label("name|judge name", PEOPLE),
                category("court|chamber", "civil, criminal, family, labor", "* of the {} court"),
                year("appointment year|year appointed", 1985, 2022),
                person=True,
            ),
            entity(
                "lawsuit|court case",
                label("docket|docket number", pairs("C,F,L", "1042,1177,1203,1388,1456,1519,1690")),
                category("outcome|verdict", "settled, dismissed, granted, appealed", "{} *"),
                day(
                    "filing date|filed on",
                    "2015-01-01",
                    "2024-06-30",
                    "filed",
                    most="newest",
                    least="oldest",
                ),
                number("claim value|amount in dispute", 500, 900000, 500, "dollars", adds_up=True),
                count("hearings", "hearings|hearing count", 1, 24, optional=True),
                of="of judge",
            ),
        ),
    ),
)
