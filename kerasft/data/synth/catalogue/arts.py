"""Domains of the arts."""

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
    year,
)

DOMAINS = (
    Domain(
        "film",
        "Directors, their movies and screenings in cinemas.",
        (
            entity(
                "director|film maker",
                label("name|director name", PEOPLE),
                category("country|home country", COUNTRIES, "* from {}"),
                year("birth year|year of birth", 1930, 1992, "youngest", "oldest"),
                person=True,
            ),
            entity(
                "movie|film",
                label(
                    "title|movie title",
                    pairs(
                        "Midnight,Broken,Electric,Last,Glass,Hidden",
                        "Carnival,Signal,Summer,Voyage,Mirror,Garden",
                    ),
                ),
                category("genre|film genre", "Drama, Comedy, Thriller, Animation, Documentary"),
                number(
                    "runtime|running time",
                    70,
                    210,
                    1,
                    "minutes",
                    adds_up=True,
                    most="longest",
                    least="shortest",
                ),
                number(
                    "budget|production budget",
                    1,
                    180,
                    0.5,
                    "million dollars",
                    adds_up=True,
                    most="most expensive",
                    least="cheapest",
                    optional=True,
                ),
                day(
                    "release date|premiere date",
                    "1990-01-01",
                    "2023-12-31",
                    "released",
                    most="newest",
                    least="oldest",
                ),
                of="by director",
            ),
            entity(
                "screening|showing",
                category("cinema|theater", "Roxy, Odeon, Lumen, Palace", "* at the {} cinema"),
                day(
                    "screening date|show date",
                    "2022-01-01",
                    "2024-06-30",
                    most="most recent",
                    least="oldest",
                ),
                number(
                    "ticket price|price",
                    5,
                    22,
                    0.5,
                    "dollars",
                    most="most expensive",
                    least="cheapest",
                ),
                count("visitors", "visitors|audience size", 4, 320),
                of="of movie",
            ),
        ),
    ),
    Domain(
        "music",
        "Bands, their albums and the songs on them.",
        (
            entity(
                "band|group|artist",
                label(
                    "name|band name",
                    pairs("Velvet,Solar,Iron,Lazy,Northern", "Foxes,Echoes,Rivers,Robots,Sparrows"),
                ),
                category("genre|style", "Rock, Jazz, Folk, Electronic, Soul", "{} *"),
                year("formation year|year formed", 1965, 2018, "youngest", "oldest"),
                category("country|origin", COUNTRIES, "* from {}"),
            ),
            entity(
                "album|record",
                label(
                    "title|album title",
                    pairs(
                        "Slow,Bright,Endless,Second,Quiet", "Horizon,Machine,Weather,Season,Avenue"
                    ),
                ),
                day(
                    "release date|released on",
                    "1990-01-01",
                    "2023-12-31",
                    "released",
                    most="newest",
                    least="oldest",
                ),
                category("record label|label", "Moonbeam, Redwood, Anchor, Static"),
                count(
                    "copies sold",
                    "copies sold|sales",
                    1000,
                    900000,
                    1000,
                    most="best selling",
                    least="worst selling",
                ),
                of="by band",
            ),
            entity(
                "song|track",
                label(
                    "title|song title",
                    pairs("Paper,Neon,Golden,Wild,Lonely", "Moon,Road,Hearts,Rain,Letters"),
                ),
                number(
                    "length|duration",
                    90,
                    480,
                    1,
                    "seconds",
                    adds_up=True,
                    most="longest",
                    least="shortest",
                ),
                count(
                    "plays",
                    "plays|play count",
                    100,
                    50000,
                    50,
                    most="most played",
                    least="least played",
                ),
                category("mood|feel", "calm, happy, sad, angry", "{} *", optional=True),
                of="on album",
            ),
        ),
    ),
    Domain(
        "museum",
        "Painters and their works.",
        (
            entity(
                "painter|artist",
                label("name|painter name", PEOPLE),
                category("movement|school", "Cubism, Realism, Baroque, Surrealism"),
                year("birth year|year of birth", 1600, 1980, "youngest", "oldest"),
                person=True,
            ),
            entity(
                "painting|artwork|work",
                label(
                    "title|work title",
                    pairs(
                        "Morning,Portrait of,Study of,View of,Night over",
                        "a Sailor,the Bay,the Orchard,a Dancer,the Old Town",
                    ),
                ),
                category("technique|medium", "oil, watercolor, ink, tempera", "{} *"),
                number(
                    "value|insured value",
                    2000,
                    900000,
                    1000,
                    "dollars",
                    adds_up=True,
                    most="most valuable",
                    least="least valuable",
                ),
                number(
                    "height|canvas height",
                    20,
                    300,
                    1,
                    "centimeters",
                    most="tallest",
                    least="smallest",
                ),
                day(
                    "acquisition date|acquired on",
                    "1980-01-01",
                    "2023-12-31",
                    "acquired",
                    optional=True,
                ),
                of="by painter",
            ),
        ),
    ),
    Domain(
        "theater",
        "Theaters, the plays they stage and the performances.",
        (
            entity(
                "theater|playhouse|stage",
                label(
                    "name|theater name",
                    pairs("Globe,Crown,Willow,Arcade,Corner", "Theater,Stage,Playhouse"),
                ),
                category("city|town", CITIES, "* in {}"),
                count("seats", "seats|seat count", 60, 1800, 10, most="largest", least="smallest"),
            ),
            entity(
                "play|production",
                label(
                    "title|play title",
                    pairs(
                        "Foolish,Stolen,Patient,Secret,Golden",
                        "Heirs,Crown,Widow,Neighbors,Promise",
                    ),
                ),
                category("genre|kind", "tragedy, comedy, musical, farce"),
                number(
                    "running time|duration",
                    50,
                    220,
                    5,
                    "minutes",
                    adds_up=True,
                    most="longest",
                    least="shortest",
                ),
                day(
                    "premiere date|first night",
                    "2010-01-01",
                    "2024-06-30",
                    most="newest",
                    least="oldest",
                ),
                of="at theater",
            ),
            entity(
                "performance|show",
                day(
                    "show date|performance date",
                    "2022-01-01",
                    "2024-06-30",
                    most="most recent",
                    least="oldest",
                ),
                count("tickets sold", "tickets sold|ticket sales", 20, 1500, 5),
                number("revenue|ticket income", 400, 60000, 100, "dollars", adds_up=True),
                category("time of day|slot", "matinee, evening, late"),
                of="of play",
            ),
        ),
    ),
    Domain(
        "podcasts",
        "Podcasts and their episodes.",
        (
            entity(
                "podcast|show",
                label(
                    "title|podcast title",
                    pairs("Curious,Daily,Small,Open,Second", "Minds,Garage,Kitchen,Orbit,Notes"),
                ),
                category("topic|theme", "science, history, cooking, sports, money"),
                count(
                    "subscribers",
                    "subscribers|subscriber count",
                    200,
                    90000,
                    100,
                    most="most popular",
                    least="least popular",
                ),
                category(
                    "language|spoken language", "English, French, Hindi, Korean", optional=True
                ),
            ),
            entity(
                "episode|installment",
                label(
                    "title|episode title",
                    pairs(
                        "Lost,Strange,Simple,Ancient,Hungry",
                        "Numbers,Planets,Markets,Recipes,Heroes",
                    ),
                ),
                number(
                    "length|duration",
                    8,
                    150,
                    1,
                    "minutes",
                    adds_up=True,
                    most="longest",
                    least="shortest",
                ),
                count(
                    "downloads",
                    "downloads|download count",
                    50,
                    40000,
                    50,
                    most="most downloaded",
                    least="least downloaded",
                ),
                day(
                    "air date|publication date",
                    "2020-01-01",
                    "2024-06-30",
                    "published",
                    most="newest",
                    least="oldest",
                ),
                of="of podcast",
            ),
        ),
    ),
    Domain(
        "video games",
        "Studios, their games and the reviews of players.",
        (
            entity(
                "studio|developer",
                label(
                    "name|studio name",
                    pairs("Pixel,Copper,Night,Giant,Paper", "Owl,Forge,Harbor,Rabbit"),
                ),
                category("country|home country", COUNTRIES, "* from {}"),
                count(
                    "employees", "employees|staff size", 3, 800, most="largest", least="smallest"
                ),
            ),
            entity(
                "game|title",
                label(
                    "name|game name",
                    pairs(
                        "Star,Dungeon,Rail,Ocean,Clockwork", "Tycoon,Quest,Racers,Puzzle,Legends"
                    ),
                ),
                category("platform|system", "PC, console, mobile, arcade", "{} *"),
                number(
                    "price|launch price",
                    1,
                    80,
                    0.5,
                    "dollars",
                    most="most expensive",
                    least="cheapest",
                ),
                count(
                    "copies sold",
                    "copies sold|sales",
                    1000,
                    900000,
                    1000,
                    most="best selling",
                    least="worst selling",
                ),
                day(
                    "release date|launch date",
                    "2005-01-01",
                    "2024-06-30",
                    "released",
                    most="newest",
                    least="oldest",
                ),
                of="by studio",
            ),
            entity(
                "review|critique",
                number("score|rating", 10, 100, most="best", least="worst"),
                day(
                    "review date|written on",
                    "2018-01-01",
                    "2024-06-30",
                    "written",
                    most="newest",
                    least="oldest",
                ),
                category("outlet|magazine", "GameWeek, Pixelpost, Joystick", optional=True),
                of="of game",
            ),
        ),
    ),
)
