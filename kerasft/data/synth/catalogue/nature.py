"""Domains of the living and the physical world."""

from kerasft.data.synth.catalogue.spec import (
    COUNTRIES,
    Domain,
    category,
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
        "wildlife",
        "Nature reserves, the animals tagged in them and sightings.",
        (
            entity(
                "reserve|nature reserve|park",
                label(
                    "name|reserve name",
                    pairs("Red,Misty,Long,Otter,Eagle", "Marsh,Woods,Dunes,Plains"),
                ),
                category(
                    "region|province", "Highlands, Delta, Coast, Steppe", "* in the {} region"
                ),
                number(
                    "area|protected area",
                    5,
                    4000,
                    5,
                    "square kilometers",
                    adds_up=True,
                    most="largest",
                    least="smallest",
                ),
            ),
            entity(
                "animal|tagged animal",
                label(
                    "name|nickname",
                    pool(
                        "Bramble, Juno, Koda, Nilo, Tansy, Rusty, "
                        "Saffron, Umber, Willow, Ziggy, Pebble, Moss"
                    ),
                ),
                category("species|animal species", "wolf, lynx, crane, otter, tapir"),
                number(
                    "weight|body weight",
                    1,
                    240,
                    0.5,
                    "kilograms",
                    most="heaviest",
                    least="lightest",
                ),
                day("tagging date|tagged on", "2016-01-01", "2024-06-30", "tagged"),
                number(
                    "age|estimated age",
                    1,
                    25,
                    1,
                    "years",
                    most="oldest",
                    least="youngest",
                    optional=True,
                ),
                of="in reserve",
            ),
            entity(
                "sighting|observation",
                day(
                    "sighting date|seen on",
                    "2021-01-01",
                    "2024-06-30",
                    most="most recent",
                    least="oldest",
                ),
                number(
                    "distance|distance from camp",
                    50,
                    9000,
                    50,
                    "meters",
                    most="farthest",
                    least="nearest",
                ),
                category("weather|sky", "clear, rain, fog, snow"),
                of="of animal",
            ),
        ),
    ),
    Domain(
        "marine biology",
        "Research vessels, their expeditions and the samples taken.",
        (
            entity(
                "vessel|research ship",
                label(
                    "name|vessel name",
                    pool(
                        "Nautica, Sea Lark, Coral Star, Polaris, "
                        "Abyss, Wavecrest, Tern, Meridiana, Sirena"
                    ),
                ),
                number(
                    "length|hull length", 18, 140, 1, "meters", most="longest", least="shortest"
                ),
                category("flag|flag state", COUNTRIES, "* from {}"),
                year("build year|year built", 1970, 2022, "newest", "oldest"),
            ),
            entity(
                "sample|water sample",
                category("ocean|sea", "Atlantic, Pacific, Indian, Arctic", "* from the {} ocean"),
                number(
                    "depth|sampling depth", 5, 6000, 5, "meters", most="deepest", least="shallowest"
                ),
                number("salinity|salt content", 30, 41, 0.1, "grams per liter"),
                number(
                    "temperature|water temperature",
                    0.5,
                    29,
                    0.1,
                    "degrees",
                    most="warmest",
                    least="coldest",
                    optional=True,
                ),
                day(
                    "sampling date|collected on",
                    "2019-01-01",
                    "2024-06-30",
                    "collected",
                    most="most recent",
                    least="oldest",
                ),
                of="of vessel",
            ),
        ),
    ),
    Domain(
        "agriculture",
        "Farms, their fields and the harvests brought in.",
        (
            entity(
                "farm|holding",
                label(
                    "name|farm name",
                    pairs("Windmill,Clover,Stony,Orchard,Hilltop", "Farm,Acres,Fields"),
                ),
                category("county|district", "Ashford, Kilmore, Brendon, Tolland", "* in {}"),
                number(
                    "area|total area",
                    10,
                    900,
                    5,
                    "hectares",
                    adds_up=True,
                    most="largest",
                    least="smallest",
                ),
            ),
            entity(
                "field|plot",
                category("crop|planted crop", "wheat, maize, barley, potatoes, soy"),
                number(
                    "size|field size",
                    0.5,
                    60,
                    0.5,
                    "hectares",
                    adds_up=True,
                    most="largest",
                    least="smallest",
                ),
                category("soil|soil type", "clay, sand, loam"),
                day("sowing date|planted on", "2021-01-01", "2024-05-31", "sown", optional=True),
                of="of farm",
            ),
            entity(
                "harvest|yield record",
                day(
                    "harvest date|harvested on",
                    "2020-01-01",
                    "2024-06-30",
                    most="most recent",
                    least="oldest",
                ),
                number(
                    "yield|harvest weight",
                    1,
                    400,
                    0.5,
                    "tons",
                    adds_up=True,
                    most="largest",
                    least="smallest",
                ),
                number("moisture|grain moisture", 9, 24, 0.1, "percent"),
                category("quality|grade", "A, B, C"),
                of="of farm",
            ),
        ),
    ),
    Domain(
        "weather",
        "Weather stations and their daily readings.",
        (
            entity(
                "station|weather station",
                label(
                    "name|station name",
                    pairs("Cape,Lake,Pass,Airport,Summit", "Verde,Ardent,Mirna,Solace"),
                ),
                category("region|climate region", "coast, plains, mountains, desert"),
                number("elevation|altitude", 0, 3200, 5, "meters", most="highest", least="lowest"),
                year("founding year|year established", 1900, 2020, "newest", "oldest"),
            ),
            entity(
                "reading|measurement",
                day(
                    "reading date|measured on",
                    "2021-01-01",
                    "2024-06-30",
                    "taken",
                    most="most recent",
                    least="oldest",
                ),
                number(
                    "temperature|air temperature",
                    0.5,
                    39,
                    0.5,
                    "degrees",
                    most="warmest",
                    least="coldest",
                ),
                number(
                    "rainfall|precipitation",
                    0,
                    90,
                    0.5,
                    "millimeters",
                    adds_up=True,
                    most="wettest",
                    least="driest",
                ),
                number(
                    "wind speed|wind",
                    0,
                    120,
                    1,
                    "kilometers per hour",
                    most="windiest",
                    least="calmest",
                    optional=True,
                ),
                category("sky|cloud cover", "clear, cloudy, overcast"),
                of="of station",
            ),
        ),
    ),
    Domain(
        "geography",
        "Countries, their cities and rivers.",
        (
            entity(
                "country|nation",
                label(
                    "name|country name",
                    pool(
                        "Aldoria, Brevonia, Casmere, Drovia, Estara, "
                        "Fenwick, Galdan, Hestia, Istria Nova, Jorvia"
                    ),
                ),
                category("continent|world region", "Africa, Asia, Europe, America", "* in {}"),
                number(
                    "population|inhabitants",
                    1,
                    300,
                    0.5,
                    "million people",
                    adds_up=True,
                    most="most populous",
                    least="least populous",
                ),
                number(
                    "area|land area",
                    10,
                    9000,
                    10,
                    "thousand square kilometers",
                    adds_up=True,
                    most="largest",
                    least="smallest",
                ),
            ),
            entity(
                "city|town",
                label(
                    "name|city name",
                    pairs("Port,New,Lower,Saint,Fort", "Amble,Corvin,Delmar,Hollis,Rowan"),
                ),
                number(
                    "population|inhabitants",
                    2,
                    9000,
                    2,
                    "thousand people",
                    adds_up=True,
                    most="most populous",
                    least="least populous",
                ),
                number("elevation|altitude", 0, 3600, 5, "meters", most="highest", least="lowest"),
                category("climate|climate zone", "tropical, temperate, dry, polar", "{} *"),
                year("founding year|year founded", 900, 1950, "youngest", "oldest"),
                of="in country",
            ),
            entity(
                "river|stream",
                label(
                    "name|river name",
                    pool(
                        "Arn, Belva, Corrin, Dunmere, Eska, Fola, "
                        "Grenn, Harrow, Isel, Jura, Kelm, Lorn"
                    ),
                ),
                number(
                    "length|total length",
                    20,
                    4200,
                    5,
                    "kilometers",
                    adds_up=True,
                    most="longest",
                    least="shortest",
                ),
                number("flow|mean flow", 5, 9000, 5, "cubic meters per second"),
                category("mouth|flows into", "sea, lake, river", optional=True),
                of="in country",
            ),
        ),
    ),
)
