"""Real pairs without a download: the names of things in two languages, from Babel's locale data.

Babel ships the Unicode Common Locale Data Repository (CLDR): what territories, languages, scripts,
currencies, cities and time zones are called.
"""

from collections.abc import Iterator

from keras_deit.core.errors import InputError

_KINDS = ("territories", "languages", "scripts", "variants", "currencies")


def name_pairs(languages: tuple[str, str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Returns names in two languages, and for each pair the thing that it names.

    Args:
        languages: those of the source and the target, as Babel has them: "en", "de", "pt_BR".

    Raises:
        InputError: Babel is not installed, or has no such language.
    """
    source, target = (dict(_names(language)) for language in languages)
    found = {}
    for key, name in sorted(source.items()):
        if key in target:
            # Singular and plural of a currency are names of one thing.
            found.setdefault((name, target[key]), " ".join(key[:2]))
    return list(found), list(found.values())


def _names(language: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields what each thing is called: its kind, its code and its form, and its name."""
    locale = _locale(language)
    from babel.numbers import get_currency_name

    for kind in _KINDS:
        yield from (((kind, code, ""), name) for code, name in getattr(locale, kind).items())
    for code in locale.currencies:
        for count in (1, 2):
            yield ("currencies", code, str(count)), get_currency_name(code, count, locale)
    for code, names in locale.time_zones.items():
        if "city" in names:
            yield ("cities", code, ""), names["city"]
    for code, names in locale.meta_zones.items():
        yield from ((("zones", code, form), name) for form, name in names.get("long", {}).items())


def _locale(language: str):
    try:
        from babel import Locale, UnknownLocaleError
    except ImportError as error:
        raise InputError(
            "The names in two languages need Babel: pip install 'keras-deit[sequence]'."
        ) from error
    try:
        return Locale.parse(language)
    except (UnknownLocaleError, ValueError) as error:
        raise InputError(
            f"Babel has no language {language!r}; it has such as en, de, fr, es, pt_BR."
        ) from error
