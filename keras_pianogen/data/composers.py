"""The composers of MAESTRO, the years of their births, and their periods.

A composer's period is that of most textbooks, by the year of birth alone. Music
that somebody else arranged for the piano has the period of the arranger.
"""

import bisect

# The years in which the first composers of the later periods were born.
FIRST_BIRTHS = (1710, 1780, 1860)
PERIODS = ("Baroque", "Classical", "Romantic", "20th century")

BIRTHS = {
    "Alban Berg": 1885,
    "Alexander Scriabin": 1872,
    "Alfred Grünfeld": 1852,
    "Antonio Soler": 1729,
    "Camille Saint-Saëns": 1835,
    "Carl Maria von Weber": 1786,
    "César Franck": 1822,
    "Claude Debussy": 1862,
    "Domenico Scarlatti": 1685,
    "Edvard Grieg": 1843,
    "Egon Petri": 1881,
    "Felix Mendelssohn": 1809,
    "Ferruccio Busoni": 1866,
    "Franz Liszt": 1811,
    "Franz Schubert": 1797,
    "Frédéric Chopin": 1810,
    "George Enescu": 1881,
    "George Frideric Handel": 1685,
    "György Cziffra": 1921,
    "Henry Purcell": 1659,
    "Isaac Albéniz": 1860,
    "Jean-Philippe Rameau": 1683,
    "Johann Pachelbel": 1653,
    "Johann Sebastian Bach": 1685,
    "Johannes Brahms": 1833,
    "Joseph Haydn": 1732,
    "Leoš Janáček": 1854,
    "Leopold Godowsky": 1870,
    "Ludwig van Beethoven": 1770,
    "Mikhail Pletnev": 1957,
    "Mily Balakirev": 1837,
    "Modest Mussorgsky": 1839,
    "Moritz Moszkowski": 1854,
    "Muzio Clementi": 1752,
    "Myra Hess": 1890,
    "Nikolai Medtner": 1880,
    "Orlando Gibbons": 1583,
    "Percy Grainger": 1882,
    "Pyotr Ilyich Tchaikovsky": 1840,
    "Robert Schumann": 1810,
    "Sergei Rachmaninoff": 1873,
    "Vladimir Horowitz": 1903,
    "Vyacheslav Gryaznov": 1982,
    "Wolfgang Amadeus Mozart": 1756,
}


def period_of(composer: str) -> str:
    """The period of a composer, or "" if the composer isn't known.

    Args:
        composer: a name as MAESTRO spells it, or two with " / " between them,
            the composer and the arranger. The period is then the arranger's.

    Examples:
        >>> period_of("Johann Sebastian Bach")
        'Baroque'
        >>> period_of("Johann Sebastian Bach / Ferruccio Busoni")
        '20th century'
    """
    born = BIRTHS.get(composer.rpartition(" / ")[2])
    if born is None:
        return ""
    return PERIODS[bisect.bisect(FIRST_BIRTHS, born)]
