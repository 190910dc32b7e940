"""What made-up clients are called and where they live: words of our own, put together at random."""

from __future__ import annotations

from typing import Final

import msgspec


class Country(msgspec.Struct, frozen=True):
    """A country with the dialling code and some places of its own."""

    code: str
    dial: str
    cities: tuple[str, ...]
    streets: tuple[str, ...]


_FIRST_NAMES = """
Ada Alexis Amara Anton Aoife Bao Bela Carmen Chidi Clara Dana Davit Dimitra Elif Emeka Esra Farid Greta
Hana Hugo Ines Ivo Jana Jonas Kaito Katya Lena Leo Lucia Mae Marek Mila Nadia Nils Noor Oskar Petra Ravi
Rosa Saki Sami Sofia Stavros Tariq Tomas Uma Vera Wei Yara Zoe
"""
_FAMILY_NAMES = """
Abara Adeyem Almgren Baros Belmonte Borgard Castellan Cernova Dahlin Daskal Eklunda Farouq Ferrant
Galani Haruto Holloway Ibanez Ikeda Jansky Kallas Karam Kowalek Laurent Lindholt Makris Marchetta Mazur
Moreau Nakatani Nilsen Oduya Okabe Orlova Pappas Petrakis Quiroga Rahimi Rask Sakata Santoro Sorensk
Tavares Tanaka Ulrich Varga Vasiliou Weller Yamato Zeman Zielinska
"""

FIRST_NAMES: Final = tuple(_FIRST_NAMES.split())
FAMILY_NAMES: Final = tuple(_FAMILY_NAMES.split())
COUNTRIES: Final = (
    Country("GR", "+30", ("Athens", "Patras", "Volos"), ("Ermou", "Stadiou", "Akti Miaouli")),
    Country("CY", "+357", ("Limassol", "Nicosia"), ("Makarios Avenue", "Anexartisias")),
    Country("DE", "+49", ("Hamburg", "Leipzig", "Bonn"), ("Lindenweg", "Hafenstrasse", "Am Markt")),
    Country("PL", "+48", ("Gdansk", "Lodz"), ("Dluga", "Polna", "Lesna")),
    Country("ES", "+34", ("Valencia", "Bilbao"), ("Calle Mayor", "Calle del Sol")),
    Country("IT", "+39", ("Turin", "Bari"), ("Via Roma", "Via Garibaldi")),
    Country("GB", "+44", ("Leeds", "Bristol"), ("High Street", "Mill Lane", "Station Road")),
    Country("JP", "+81", ("Osaka", "Nagoya", "Sapporo"), ("Chuo-dori", "Sakura-dori")),
    Country("AE", "+971", ("Dubai", "Sharjah"), ("Al Wasl Road", "Corniche Street")),
    Country("ZA", "+27", ("Durban", "Cape Town"), ("Long Street", "Beach Road")),
    Country("BR", "+55", ("Recife", "Curitiba"), ("Rua das Flores", "Avenida Central")),
    Country("VN", "+84", ("Hanoi", "Da Nang"), ("Tran Phu", "Le Loi")),
)
CHARGEBACKS: Final = ("chargeback by the card issuer", "the bank called the transfer back", "paid in twice")
MISTAKES: Final = ("wrong rate applied", "fee taken in error", "goodwill after a price error", "rounding")
